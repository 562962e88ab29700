# The two commands of the README, and what they are made of.
GO ?= go
BIN := bin/kiungo

.PHONY: demo test build lint links unit postgres xmllint scenarios pingpong chaos bench docs clean

## demo: simulators, ledger, engine and live traffic; make demo ARGS=--exit ends by itself
demo: build
	$(BIN) demo $(ARGS)

## test: everything that must hold, with nothing installed by hand but Go
test: lint links unit scenarios

build:
	$(GO) build -o $(BIN) ./cmd/kiungo

lint:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "not gofmt-ed:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) run ./cmd/kiungo docs --check

links:
	$(GO) run ./internal/deadlinks

unit: postgres xmllint
	$(GO) test ./...

## postgres: what tests on PostgreSQL need; KIUNGO_TEST_POSTGRES=skip leaves them out
postgres:
	scripts/postgres.sh

## xmllint: what validates exported ADX files in the tests
xmllint:
	scripts/xmllint.sh

scenarios: build
	$(BIN) check
	$(BIN) test

## pingpong: both sides changed at random for 10,000 steps (make test has 1,000)
pingpong:
	$(GO) test ./internal/invariants -run PingPong -timeout 10m -args -pingpong.steps=10000

## chaos: whole nodes killed, paused and cut off, targets that lie, bad clocks and disks, in ten minutes; writes the
## table in docs/reliability.md (make test has a short form). ARGS='-chaos.only=paused -chaos.seed=7' for one of them
chaos: postgres
	$(GO) test ./internal/chaos -count=1 -timeout 20m -v -args -chaos.time=9m -chaos.table=$(CURDIR)/docs/reliability.md $(ARGS)

bench: build
	$(BIN) bench $(ARGS)

## docs: write the generated reference page and the editors' schemas
docs:
	$(GO) run ./cmd/kiungo docs

clean:
	rm -rf bin
