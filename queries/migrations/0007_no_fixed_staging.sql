DROP TABLE IF EXISTS batch_indicators_staging;
