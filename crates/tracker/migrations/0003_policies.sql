-- The versions of the rules that each shard has had, as they stand in order-states.
CREATE TABLE policies (
    shard BIGINT NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL,
    versions BYTEA NOT NULL
);

-- What was read before this table was there is read again from order-states.
DELETE FROM positions;
