package postgrestest

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Column gives the texts of a query's only column.
func Column(ctx context.Context, url, query string) ([]string, error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer c.Close(context.WithoutCancel(ctx))
	rows, err := c.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
