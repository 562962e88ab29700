-- Many nodes: today's work before bulk, circuits that belong to the system.

-- bulk: 1: it came in bulk (a list, a poll that catches up). A lane whose work
-- is all so has a negative due_at: microseconds less 2^62.
ALTER TABLE delivery ADD COLUMN bulk BIGINT NOT NULL DEFAULT 0;

-- login: 1: opened by wrong credentials, to be probed seldom.
ALTER TABLE circuit ADD COLUMN login BIGINT NOT NULL DEFAULT 0;

-- Lanes that met a system down since its last success, on whatever node.
CREATE TABLE circuit_lane (
  system TEXT NOT NULL,
  lane BIGINT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (system, lane)
) {{CLUSTERED}};

-- version: of the program that a node runs.
ALTER TABLE node ADD COLUMN version TEXT NOT NULL DEFAULT '';
