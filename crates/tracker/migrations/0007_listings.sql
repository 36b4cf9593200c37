-- The newest version of each entry of the directory of merchants, as each shard has it. `listing_key`
-- is the MerchantID, followed by a zero byte and the StoreID for a store. The content is stored for
-- shard 0 only, which decides about changes.
CREATE TABLE listings (
    shard BIGINT NOT NULL,
    listing_key BYTEA NOT NULL,
    version BIGINT NOT NULL,
    change BYTEA NOT NULL,
    PRIMARY KEY (shard, listing_key)
) WITHOUT ROWID;
