package engine

import (
	"testing"

	"github.com/kiungo-health/kiungo/internal/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }
