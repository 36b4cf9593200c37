-- The first beginning that was read in order-states and the newest one, by which the topic is recognised.
ALTER TABLE positions ADD COLUMN beginning_offset BIGINT;
ALTER TABLE positions ADD COLUMN beginning_mark BIGINT;
ALTER TABLE positions ADD COLUMN newest_beginning BIGINT;
