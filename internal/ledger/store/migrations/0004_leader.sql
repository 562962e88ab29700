-- Which node does what only one of them should do (poll a stream), and until when.
CREATE TABLE leader (
  name TEXT PRIMARY KEY,
  node BIGINT NOT NULL,
  until BIGINT NOT NULL
);
