-- Which records of orders the states reflect, as the shard's router said: a day is complete once all shards are past its end.
ALTER TABLE positions ADD COLUMN marker BIGINT NOT NULL DEFAULT 0;

-- Markers that were passed over before this column was there are read again from order-states.
DELETE FROM positions;
