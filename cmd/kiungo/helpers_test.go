package main

import (
	"log/slog"
	"testing"

	"github.com/kiungo-health/kiungo/connectors"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

func root0() *app { return &app{reg: connectors.All()} }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestMain(m *testing.M) { postgrestest.Main(m) }
