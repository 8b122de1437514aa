-- The tour: a file becomes a table, a table becomes models, and models answer questions.
-- Run it with "auspex demo", or with psql against "auspex serve --allow-location examples".

-- 1. A file is a table. The server reads it where it lies.
DROP MODEL IF EXISTS species_of;
DROP MODEL IF EXISTS mass_of;
DROP TABLE IF EXISTS penguins;
CREATE EXTERNAL TABLE penguins STORED AS CSV LOCATION 'penguins.csv' OPTIONS ('format.has_header' 'true');

-- 2. Look at it with the SQL that you know.
SELECT species, count(*) AS penguins, round(avg(body_mass_g)) AS mean_mass_g
FROM penguins GROUP BY species ORDER BY species;

-- 3. A classifier: the label is text, so Auspex chooses a boosted tree and says so.
CREATE MODEL species_of PREDICT species AS SELECT * FROM penguins;

-- 4. How good is it? Training kept a part of the rows aside.
EVALUATE MODEL species_of;

-- 5. Use it: in any query, as an expression over columns.
SELECT species, PREDICT(species_of USING *) AS predicted, count(*) AS penguins
FROM penguins GROUP BY 1, 2 ORDER BY 1, 2;

-- 6. A regressor, in BigQuery's words, which run unchanged.
CREATE MODEL mass_of
OPTIONS (model_type = 'linear_reg', input_label_cols = ['body_mass_g'], data_split_method = 'NO_SPLIT')
AS SELECT * FROM penguins WHERE body_mass_g IS NOT NULL;

-- 7. Its errors, in grams.
SELECT mean_absolute_error, r2_score FROM ML.EVALUATE(MODEL mass_of, TABLE penguins);

-- 8. Rows with their prediction.
SELECT predicted_body_mass_g, body_mass_g, species, sex
FROM ML.PREDICT(MODEL mass_of, (SELECT * FROM penguins WHERE body_mass_g IS NOT NULL))
ORDER BY predicted_body_mass_g DESC LIMIT 5;

-- 9. Models are in the catalog, with every version.
SELECT name, model_type, label, current_version FROM ml.models ORDER BY name;
