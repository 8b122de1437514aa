SELECT * FROM {{ ref('customers') }} WHERE total > 16
