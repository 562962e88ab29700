-- Who is on a list that is fetched in runs.
CREATE TABLE listed (
  list BLOB NOT NULL,          -- hash of system and list
  doc BLOB NOT NULL,           -- hash of the document, as in version
  run BIGINT NOT NULL,
  PRIMARY KEY (list, doc)
) {{CLUSTERED}};

-- Rows that people gave as answers.
CREATE TABLE lesson (
  mac BLOB NOT NULL,           -- hash of integration, table and codes
  at BIGINT NOT NULL,
  who TEXT NOT NULL,
  sealed BLOB,
  PRIMARY KEY (mac)
) {{CLUSTERED}};

-- Records that are not that person's.
CREATE TABLE apart (
  person BLOB NOT NULL,
  ident BLOB NOT NULL,
  sealed BLOB,
  PRIMARY KEY (person, ident)
) {{CLUSTERED}};

-- What people changed in the crosswalk.
CREATE TABLE tie (
  id {{ID}},
  person BLOB NOT NULL,
  at BIGINT NOT NULL,
  act TEXT NOT NULL,
  who TEXT NOT NULL,
  sealed BLOB
);
CREATE INDEX tie_person ON tie (person, id);

CREATE INDEX delivery_of_lane ON delivery (lane, id);
