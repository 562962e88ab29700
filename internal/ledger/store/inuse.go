package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// InUse tells on which host a node has the ledger of a PostgreSQL database open,
// "" if none has. A copy of a database says so of the nodes of its original for
// as long as their lease was (35 s). Nothing is made or changed, whatever the
// version of the tables is.
func InUse(ctx context.Context, database string) (host string, err error) {
	conf, err := pgconn.ParseConfig(database)
	if err != nil {
		return "", fmt.Errorf("the database's URL: %w", err) // pgconn leaves the password out
	}
	p := &postgres{conf: conf}
	if err := p.names(); err != nil {
		return "", err
	}
	c, err := openPg(ctx, p.conf, map[string]string{"default_transaction_read_only": "on", "statement_timeout": "10000"})
	if err != nil {
		return "", err
	}
	defer c.close()
	c.ctx = ctx
	if _, err := one(c, qAlive, func(r row) { host = r.text(0) }); err != nil {
		return "", fmt.Errorf("read which nodes have the ledger of %s open: %w", p.words(), err)
	}
	return host, nil
}
