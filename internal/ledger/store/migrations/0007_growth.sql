-- Growth: what listings, counts, retention and the archive find without a scan.

-- Open deliveries, for counts and listings. Those that ended are found by zone.
CREATE INDEX delivery_open ON delivery (flow, state, id, created, calls) WHERE ended = 0;
CREATE INDEX delivery_cause ON delivery (cause, state, id) WHERE cause <> '';
CREATE INDEX delivery_held ON delivery (cause, code, id, flow, created) WHERE state IN ('held', 'half undone');
CREATE INDEX audit_delivery ON audit (delivery, id) WHERE delivery <> 0;
CREATE INDEX question_open ON question (id) WHERE state = 'open';
CREATE INDEX listed_run ON listed (list, run);
CREATE INDEX listed_doc ON listed (doc);

-- In which blocks of 4,096 numbers there is, or was, one of a kind: deliveries
-- of a flow from a system ("from") or ended so ("end"), messages of a system
-- ("source"). One row for many rows, so that it costs next to nothing.
CREATE TABLE zone (
  kind TEXT NOT NULL,
  flow TEXT NOT NULL,
  what TEXT NOT NULL,
  block BIGINT NOT NULL,
  PRIMARY KEY (kind, flow, what, block)
) {{CLUSTERED}};
CREATE TABLE zone_name (
  kind TEXT NOT NULL,
  flow TEXT NOT NULL,
  what TEXT NOT NULL,
  PRIMARY KEY (kind, flow, what)
) {{CLUSTERED}};
INSERT INTO zone SELECT DISTINCT 'from', d.flow, m.system, d.id / 4096 FROM delivery d JOIN message m ON m.id = d.message;
INSERT INTO zone SELECT DISTINCT 'end', d.flow, d.state, d.id / 4096 FROM delivery d WHERE d.ended <> 0;
INSERT INTO zone SELECT DISTINCT 'source', '', m.system, m.id / 4096 FROM message m;
INSERT INTO zone_name SELECT DISTINCT kind, flow, what FROM zone;

-- Where a document went, of deliveries that are in the archive: what a new
-- version of it, or its withdrawal, is to be routed to. The newest of each maker.
CREATE TABLE routed (
  maker BLOB NOT NULL,
  doc BLOB NOT NULL,           -- as in version
  delivery BIGINT NOT NULL,
  message BIGINT NOT NULL,
  system TEXT NOT NULL,
  kind TEXT NOT NULL,
  flow TEXT NOT NULL,
  lane BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  state TEXT NOT NULL,
  systems TEXT NOT NULL,
  calls BIGINT NOT NULL,
  generation BIGINT NOT NULL,
  created BIGINT NOT NULL,
  ended BIGINT NOT NULL,
  sealed BLOB,                 -- document, version, each-key
  PRIMARY KEY (maker)
) {{CLUSTERED}};
CREATE INDEX routed_doc ON routed (doc);
CREATE INDEX routed_lane ON routed (lane, delivery);
CREATE INDEX routed_delivery ON routed (delivery);

-- Messages that retention ("wipe") or the archive ("archive") passed because
-- they were not ready, to be looked at again.
CREATE TABLE passed (
  task TEXT NOT NULL,
  message BIGINT NOT NULL,
  PRIMARY KEY (task, message)
) {{CLUSTERED}};

-- Files of messages that were wiped or archived, still to be removed.
CREATE TABLE gone_file (
  id {{ID}}                    -- of the message
);
