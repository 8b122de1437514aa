-- Auspex's lakehouse: managed tables are Delta Lake tables, and a model remembers which version it learned from.
--
--   auspex serve --allow-location examples &
--   psql -h 127.0.0.1 -U postgres -f examples/lakehouse.sql postgres

DROP MODEL IF EXISTS mass;
DROP TABLE IF EXISTS colony;

-- 1. Create: constraints are part of the table, and other engines that write it must keep them too.
CREATE TABLE colony (
  species TEXT NOT NULL,
  island TEXT,
  culmen_length_mm DOUBLE,
  culmen_depth_mm DOUBLE,
  flipper_length_mm DOUBLE CHECK (flipper_length_mm > 0),
  body_mass_g DOUBLE,
  sex TEXT DEFAULT 'UNKNOWN'
);

-- 2. Ingest: a file, then some rows; a query over a file needs no table.
COPY colony FROM 'penguins.csv' (FORMAT csv, HEADER true);
INSERT INTO colony (species, island, body_mass_g) VALUES
  ('Emperor penguin (Aptenodytes forsteri)', 'Dream', 23000), ('Emperor penguin (Aptenodytes forsteri)', 'Dream', 31000);
SELECT count(*) AS in_table, (SELECT count(*) FROM 'penguins.parquet') AS in_file FROM colony;

-- 3. Update, delete, merge: each statement is one commit.
UPDATE colony SET sex = 'UNKNOWN' WHERE sex IS NULL OR sex = '.';
DELETE FROM colony WHERE body_mass_g IS NULL;
MERGE INTO colony AS c
  USING (VALUES ('Dream', 40.0)) AS scale (island, grams)
  ON c.island = scale.island
  WHEN MATCHED AND c.body_mass_g < 20000 THEN UPDATE SET body_mass_g = c.body_mass_g + scale.grams;
DESCRIBE HISTORY colony;

-- 4. Time travel: the table as it was after the file was read.
SELECT count(*) AS now, round(avg(body_mass_g), 1) AS grams FROM colony;
SELECT count(*) AS then_, round(avg(body_mass_g), 1) AS grams FROM colony VERSION AS OF 1;

-- 5. Train: the model records the version of every table that it read.
CREATE MODEL mass PREDICT body_mass_g USING linear_reg WITH (data_split_method = 'NO_SPLIT') AS SELECT * FROM colony;
SELECT version, table_name, format, table_version FROM ml.lineage('mass');

-- 6. The table moves on: the model trained on it now is another one.
DELETE FROM colony WHERE species LIKE 'Emperor%';
TRAIN MODEL mass;

-- 7. Retrain on the snapshot: the first model again, to the last bit, from the rows that it saw.
TRAIN MODEL mass ON SNAPSHOT OF mass@1;
SELECT version, table_version FROM ml.lineage('mass') ORDER BY version;
SELECT (SELECT mean_squared_error FROM ML.EVALUATE(MODEL mass@1)) = (SELECT mean_squared_error FROM ML.EVALUATE(MODEL mass@3)) AS same_model,
       (SELECT mean_squared_error FROM ML.EVALUATE(MODEL mass@1)) = (SELECT mean_squared_error FROM ML.EVALUATE(MODEL mass@2)) AS same_without_snapshot;

-- 8. Keep it tidy: small files together, and back to an earlier state if need be.
OPTIMIZE colony;
RESTORE TABLE colony TO VERSION AS OF 3;
SELECT count(*) AS restored FROM colony;
