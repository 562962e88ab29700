-- Several nodes on one PostgreSQL. Lines that begin with "--pg" are for
-- PostgreSQL only.

-- name: of the data folder, so that a node that starts again knows what it had.
ALTER TABLE node ADD COLUMN name TEXT NOT NULL DEFAULT '';
-- lease: how long after its last heartbeat it may still do something.
ALTER TABLE node ADD COLUMN lease BIGINT NOT NULL DEFAULT 0;

-- seq: receive number of the message; versions follow each other by it.
ALTER TABLE version ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;
UPDATE version SET seq = COALESCE((SELECT m.seq FROM message m WHERE m.id = version.message), 0);

-- shard: those that write at the same time add to different rows.
CREATE TABLE tally_shard (
  flow TEXT NOT NULL,
  state TEXT NOT NULL,
  shard BIGINT NOT NULL,
  n BIGINT NOT NULL,
  calls BIGINT NOT NULL,
  first BIGINT NOT NULL,
  last BIGINT NOT NULL,
  PRIMARY KEY (flow, state, shard)
);
INSERT INTO tally_shard (flow, state, shard, n, calls, first, last) SELECT flow, state, 0, n, calls, first, last FROM tally;
DROP TABLE tally;
ALTER TABLE tally_shard RENAME TO tally;

CREATE TABLE setting (
  name TEXT PRIMARY KEY,
  value BLOB
);

-- CACHE 1 is the default and matters: a number drawn later is higher.
--pg CREATE SEQUENCE receive_number CACHE 1;
--pg CREATE SEQUENCE message_number;
--pg CREATE SEQUENCE delivery_number;
--pg CREATE SEQUENCE lane_number;
--pg CREATE SEQUENCE question_number;
--pg CREATE SEQUENCE audit_number;
