{{ config(materialized='incremental', unique_key='id') }} SELECT id, customer, day FROM {{ ref('orders') }}
