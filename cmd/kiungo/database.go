package main

import (
	"context"

	"github.com/kiungo-health/kiungo/internal/engine"
	"github.com/kiungo-health/kiungo/internal/lane"
	"github.com/kiungo-health/kiungo/internal/lane/river"
	"github.com/kiungo-health/kiungo/internal/ledger"
	"github.com/kiungo-health/kiungo/internal/ledger/store"
)

// databaseURL is where the ledger is, "" for the data folder. The environment
// is read here and is no flag's default: help would print it, password and all.
func (a *app) databaseURL() string {
	if a.database != "" {
		return a.database
	}
	return env("KIUNGO_DATABASE", "")
}

func (a *app) openLedger(ctx context.Context) (*store.Store, error) {
	return store.Open(ctx, a.databaseURL(), a.dataDir, a.storeOptions())
}

func (a *app) storeOptions() store.Options {
	log := a.log()
	return store.Options{Archive: a.archive, Log: func(s string) { log.Warn(s) }}
}

// dispatcher gives River where several nodes share the ledger, nil for the
// dispatcher in process.
func (a *app) dispatcher(ctx context.Context, l ledger.Ledger) func(lane.Run, lane.Options) (engine.Dispatcher, error) {
	database := a.databaseURL()
	if database == "" {
		return nil
	}
	return func(run lane.Run, o lane.Options) (engine.Dispatcher, error) {
		return river.New(ctx, l, run, river.Options{Options: o, Database: database})
	}
}
