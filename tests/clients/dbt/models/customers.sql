{{ config(materialized='table') }} SELECT customer, sum(amount) AS total, count(*) AS n FROM {{ ref('orders') }} GROUP BY customer
