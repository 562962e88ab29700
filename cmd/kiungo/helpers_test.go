package main

import (
	"log/slog"
	"os"
	"testing"

	"github.com/kiungo-health/kiungo/connectors"
	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

func root0() *app { return &app{reg: connectors.All()} }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// programEnv makes this test program kiungo itself: for commands that start it.
const programEnv = "KIUNGO_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programEnv) != "" {
		main()
		return
	}
	postgrestest.Main(m)
}
