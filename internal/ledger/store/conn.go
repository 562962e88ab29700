package store

// conn is one database connection, used by one goroutine at a time. Statements
// are prepared once and kept. SQL is the portable part of SQLite's and
// PostgreSQL's, with ? for parameters; arguments are int64, string, []byte or
// nil.
type conn interface {
	// exec runs a statement and gives how many rows it changed.
	exec(q string, args ...any) (int64, error)
	// later runs a statement whose number of changed rows does not matter, now or
	// before the next one that reads; its error may come with that one.
	later(q string, args ...any) error
	// each gives every row to f, until f gives false or an error.
	each(q string, f func(row) (more bool, err error), args ...any) error
	// every runs several queries, each as by each; over a network at once.
	every(reads ...reading) error
	close() error
}

// reading is a query with what takes its rows.
type reading struct {
	q    string
	args []any
	f    func(row) (more bool, err error)
}

// first reads at most one row.
func first(q string, f func(row), args ...any) reading {
	return reading{q, args, func(r row) (bool, error) {
		f(r)
		return false, nil
	}}
}

// all reads every row.
func all(q string, f func(row), args ...any) reading {
	return reading{q, args, func(r row) (bool, error) {
		f(r)
		return true, nil
	}}
}

// row is a result row; it is valid only until f returns, what it gives is copied.
type row interface {
	int(i int) int64
	text(i int) string
	blob(i int) []byte
	null(i int) bool
}

// one reads at most one row.
func one(c conn, q string, f func(row), args ...any) (found bool, err error) {
	err = c.each(q, func(r row) (bool, error) {
		found = true
		f(r)
		return false, nil
	}, args...)
	return found, err
}
