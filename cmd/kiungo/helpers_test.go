package main

import (
	"log/slog"

	"github.com/kiungo-health/kiungo/connectors"
)

func root0() *app { return &app{reg: connectors.All()} }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
