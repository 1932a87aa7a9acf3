# prodml: every command of the house.  `make` builds, `make help` lists the rest.
#
# A lesson is compiled by the line in its own head comment, with $(CC) for cc and
# $(CFLAGS) for -O2, so a line that does not work breaks the build.  Tests link to one
# object per variant, $(OUT)/obj/VARIANT/prodml_impl.o, so the header is compiled once
# per variant and not once per test.

CC ?= cc
CFLAGS ?= -O2
OUT ?= out
ARGS ?=
FUZZ_SECONDS ?= 20
GCC ?= gcc
CLANG ?= clang
Q := $(if $(V),,@)
export CC CFLAGS OUT GCC CLANG FUZZ_SECONDS

WARN := -Wall -Wextra -Wpedantic -Wconversion -Wno-sign-conversion -Wshadow -Wstrict-prototypes \
        -Wmissing-prototypes -Wdouble-promotion
STD := -std=c11 $(WARN) -I.
SHA := $(shell git describe --always --dirty --abbrev=7 2>/dev/null || echo unknown)
LIBS := -lm -pthread

LESSONS := $(sort $(wildcard lessons/[0-9][0-9]_*.c))
PROGRAMS := $(LESSONS:lessons/%.c=$(OUT)/%) $(if $(wildcard lessons/apr.c),$(OUT)/apr)
TESTS := $(sort $(patsubst tests/%.c,%,$(wildcard tests/test_*.c)))
FUZZERS := $(sort $(patsubst tests/%.c,%,$(wildcard tests/fuzz_*.c)))
MODELS := draft tutor teacher
BENCHES := $(sort $(patsubst tests/%.c,%,$(wildcard tests/bench_*.c)))

.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:

.PHONY: help setup build demo-test test lint check coverage docs models models-verify svg-lint \
        check-generated layers sanitize tsan valgrind fuzz bench benchmark-notes clean test-build

help: ## this list
	@echo "make TARGET [CC=…] [CFLAGS=…] [OUT=out] [V=1 shows the commands]; without a target: build"
	@awk -F':.*## ' '/^[a-zA-Z%-]+:.*## / {sub(/%/, "NAME", $$1); printf "  %-18s %s\n", $$1, $$2}' Makefile
	@for f in $(patsubst lessons/%.c,%,$(LESSONS)); do \
	  printf '  demo-%s\n' "$$(echo "$${f#*_}" | tr _ -)"; done

setup: ## install the tools that are missing (apt or brew)
	@./build.sh --setup

build: $(PROGRAMS) ## compile every lesson and apr into out/

# The words after the compiler in a file's own cc line, without -O2, the file and -o NAME.
cc_line = $$(sed -nE 's%^[ */]*(cc|gcc|clang) (.*$<.*)$$%\2%p' $< | head -n 1 | \
          sed -E 's% &&.*%%; s% -o [^ ]+%%; s%-O[0-9] %%; s%(^| )$<%%; s%\*/%%')

define compile_by_its_line
	@echo "CC  $<"
	@mkdir -p $(OUT)
	$(Q)args="$(cc_line)"; [ -n "$$args" ] || { echo "$<: its head comment holds no cc line" >&2; exit 1; }; \
	  eval "$(CC) $(CFLAGS) -DPML_GIT_SHA='\"$(SHA)\"' -DPML_CFLAGS='\"$(CFLAGS)\"' $< -o $@ $$args $(LDFLAGS)"
endef

$(OUT)/%: lessons/%.c prodml.h
	$(compile_by_its_line)

$(OUT)/bench_%: tests/bench_%.c prodml.h
	$(compile_by_its_line)

demo-%: ## run one lesson: make demo-attention ARGS="--error"
	@lesson=$$(ls lessons/[0-9][0-9]_$(subst -,_,$*).c 2>/dev/null | head -n 1); \
	  [ -n "$$lesson" ] || { echo "no lesson is called '$*'; make help lists them" >&2; exit 2; }; \
	  bin=$(OUT)/$$(basename $$lesson .c); \
	  $(MAKE) --no-print-directory -s $$bin && $$bin $(ARGS)

demo-test: build ## run every lesson with --stdout; the exit status counts
	@tests/run.sh demo

test: ## all tests, plain and under sanitizers, fuzzing, layers, lessons
	@tests/run.sh all

test-%: ## one test, plain and under sanitizers: make test-json
	@tests/run.sh one $(subst -,_,$*)

# ── one object per variant; a new one removes the programs that were linked to the old ──────────────────────────────────────────────────────────
SAN := -g -O1 -fno-omit-frame-pointer
VARIANTS := gcc-O0 gcc-O2 gcc-O3 clang-O0 clang-O2 clang-O3 asan tsan valgrind gcov fuzz
CC_gcc-O0 = $(GCC) -O0
CC_gcc-O2 = $(GCC) -O2 -Werror
CC_gcc-O3 = $(GCC) -O3
CC_clang-O0 = $(CLANG) -O0
CC_clang-O2 = $(CLANG) -O2 -Werror
CC_clang-O3 = $(CLANG) -O3
CC_asan = $(CLANG) $(SAN) -fsanitize=address,undefined -fno-sanitize-recover=all
CC_tsan = $(CLANG) $(SAN) -fsanitize=thread
CC_valgrind = $(GCC) -O1 -g
CC_gcov = $(GCC) -O0 -g --coverage -fprofile-update=atomic
CC_fuzz = $(CLANG) $(SAN) -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

define variant
$(OUT)/obj/$(1)/prodml_impl.o: tests/prodml_impl.c prodml.h
	@echo "CC  prodml.h ($(1))"
	@mkdir -p $$(@D)
	@rm -f $$(@D)/*
	$(Q)$$(CC_$(1)) $(STD) -DPML_GIT_SHA='"$(SHA)"' -DPML_CFLAGS='"$(1)"' -c $$< -o $$@
$(OUT)/obj/$(1)/test_%: tests/test_%.c $(OUT)/obj/$(1)/prodml_impl.o tests/test.h
	@echo "CC  $$< ($(1))"
	@rm -f $$@
	$(Q)$$(CC_$(1)) $(STD) $$< $(OUT)/obj/$(1)/prodml_impl.o -o $$@ $(LIBS)
endef
$(foreach v,$(VARIANTS),$(eval $(call variant,$(v))))

$(OUT)/obj/fuzz/fuzz_%: tests/fuzz_%.c $(OUT)/obj/fuzz/prodml_impl.o
	@echo "CC  $< (libFuzzer)"
	$(Q)$(CC_fuzz) -fsanitize=fuzzer $(STD) $< $(OUT)/obj/fuzz/prodml_impl.o -o $@ $(LIBS)

$(OUT)/svg_lint: tests/svg_lint.c $(OUT)/obj/gcc-O2/prodml_impl.o tests/test.h
	@echo "CC  $<"
	$(Q)$(CC_gcc-O2) $(STD) $< $(OUT)/obj/gcc-O2/prodml_impl.o -o $@ $(LIBS)

# What `make test` runs; -k builds the rest when one does not compile.
TEST_VARIANTS ?= gcc-O2 asan
test-build: $(foreach v,$(TEST_VARIANTS),$(TESTS:%=$(OUT)/obj/$(v)/%)) $(FUZZERS:%=$(OUT)/obj/fuzz/%)

# ── checks ──────────────────────────────────────────────────────────────────────────
lint: ## warnings as errors with gcc and clang, clang-tidy, cppcheck, layers
	@tests/lint.sh

check: lint test svg-lint check-generated ## lint, test, svg-lint, check-generated

layers: ## prove that a chapter of prodml.h uses only chapters above it
	@tests/layers.sh | grep -v '^ok' ; exit $${PIPESTATUS[0]}
layers: SHELL := /bin/bash

coverage: ## lines and branches of prodml.h that the tests reach, and the functions they do not
	@tests/run.sh coverage

sanitize: ## all tests under ASan+UBSan and under TSan
	@tests/run.sh variants asan tsan

tsan: ## the tests with several threads under TSan only
	@tests/run.sh tsan

valgrind: ## the fast tests under memcheck: reads of what was never written, leaks
	@tests/run.sh valgrind

fuzz: ## every libFuzzer target for FUZZ_SECONDS (20) seconds, two at a time
	@tests/run.sh fuzz

check-generated: build ## regenerate diagrams and notes and compare with the committed ones
	@tests/generate.sh --check

svg-lint: $(OUT)/svg_lint ## every diagram: well-formed, drawable, text in its box, sizes, contrast
	@tests/run.sh svg

benchmark-notes: build ## time every lesson again and record it in notes/measured/ (on a quiet machine)
	@mkdir -p notes/measured
	@for l in $(LESSONS:lessons/%.c=%); do echo "RUN $$l"; \
	  $(OUT)/$$l --stdout --record notes/measured/$$l.json > /dev/null || exit 1; \
	  grep -q median notes/measured/$$l.json || rm notes/measured/$$l.json; done # a lesson without times

bench: $(BENCHES:%=$(OUT)/%) ## compile and run the benchmarks of tests/bench_*.c
	@for b in $(BENCHES); do echo "RUN $$b"; $(OUT)/$$b $(ARGS) || exit 1; done

docs: build ## write the book into out/book: HTML, EPUB, PDF
	@bash tests/book.sh

models: $(OUT)/apr ## train the shipped models again, into lessons/models/ (up to 45 minutes)
	@mkdir -p lessons/models
	@for m in $(MODELS); do $(OUT)/apr train --preset $$m --strict -o lessons/models/$$m.gguf || exit 1; done
	@tests/models_note.sh

models-verify: $(OUT)/apr ## train them again into out/models/ and compare byte for byte
	@mkdir -p $(OUT)/models
	@passed=0; failed=0; for m in $(MODELS); do \
	  if $(OUT)/apr train --preset $$m --strict -o $(OUT)/models/$$m.gguf && \
	     cmp $(OUT)/models/$$m.gguf lessons/models/$$m.gguf; then echo "ok $$m.gguf"; passed=$$((passed + 1)); \
	  else echo "FAILED $$m.gguf"; failed=$$((failed + 1)); fi; done; \
	  echo "$$passed passed, $$failed failed"; [ $$failed -eq 0 ]

clean: ## remove everything that was built
	rm -rf $(OUT)
