-- A tour of a cluster. Start it first, in three terminals:
--   auspex serve --worker-listen 127.0.0.1:5433
--   auspex worker --coordinator 127.0.0.1:5433 --listen 127.0.0.1:5434
--   auspex worker --coordinator 127.0.0.1:5433 --listen 127.0.0.1:5435
-- then: psql -h 127.0.0.1 -U postgres -f examples/cluster.sql

SHOW WORKERS;

-- Small data stay on one machine; here everything that can leaves.
SET min_distributed_size = '0';

CREATE OR REPLACE TABLE flights AS
SELECT value AS id,
       'c' || value % 9 AS carrier,
       (value::bigint * 7919 % 2400)::float8 AS departure,
       (value::bigint * 104729 % 3000)::float8 AS distance,
       (value::bigint * 7919 % 2400) / 100.0 + (value::bigint * 104729 % 3000) / 200.0 AS delay
FROM generate_series(1, 400000);

-- The last row of a plan says where it runs: its stages and their tasks.
EXPLAIN SELECT carrier, count(*), avg(delay) FROM flights GROUP BY carrier;
SELECT carrier, count(*), avg(delay) FROM flights GROUP BY carrier ORDER BY carrier;

-- So does that of a training. Its rows are read, encoded and kept by the workers.
EXPLAIN CREATE OR REPLACE MODEL delays PREDICT delay USING boosted_tree WITH (max_iterations = 10)
AS SELECT carrier, departure, distance, delay FROM flights;
CREATE OR REPLACE MODEL delays PREDICT delay USING boosted_tree WITH (max_iterations = 10)
AS SELECT carrier, departure, distance, delay FROM flights;
EVALUATE MODEL delays;

-- Workers load the model from storage once.
SELECT carrier, round(avg(PREDICT(delays USING *))::numeric, 2) AS expected FROM flights GROUP BY carrier ORDER BY carrier;
SHOW WORKERS;
