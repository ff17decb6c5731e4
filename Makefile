# make [MODE=release|asan|tsan|fuzz] [WERROR=1] [snug|tools|tests|bench|fuzz|headers|clean]
#
#   release  build/        gcc, -O2                                    snug, tools, tests
#   asan     build/asan/   clang, AddressSanitizer + UBSan             tests
#   tsan     build/tsan/   clang, ThreadSanitizer                      tests
#   fuzz     build/fuzz/   clang, libFuzzer + ASan + UBSan             fuzz targets
#
# Every src/**/*.c but the program's own main goes into one archive, which the program, the tests and
# the tools link. One binary each: tests/**/test_*.c, tests/fuzz/fuzz_*.c, tools/*.c, bench/*.c; other
# C files under tests/ are helpers of all tests. `./dev` installs what is missing and calls this file.
# B=DIR builds elsewhere, FOLDERS="base num" from these folders of src/ alone, CC=... by another compiler.

MODE   ?= release
WERROR ?=

B := build$(if $(filter-out release,$(MODE)),/$(MODE))
ARCH := $(shell uname -m)

CLANG := $(firstword $(foreach c,clang-14 clang,$(shell command -v $c)) clang-14)

CC_release  = gcc
OPT_release = -O2
CC_asan     = $(CLANG)
OPT_asan    = -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
CC_tsan     = $(CLANG)
OPT_tsan    = -O1 -fno-omit-frame-pointer -fsanitize=thread
CC_fuzz     = $(CLANG)
OPT_fuzz    = -O1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

ifndef CC_$(MODE)
$(error unknown MODE=$(MODE))
endif
ifeq ($(origin CC),default)
CC := $(CC_$(MODE))
endif

WARN := -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes \
        -Wundef -Wvla -Wcast-qual -Wwrite-strings -Wpointer-arith -Wswitch-enum -Wdouble-promotion \
        -Wformat=2 -Wimplicit-fallthrough $(if $(WERROR),-Werror)

LIBS      := libpcre2-8 libutf8proc jansson libedit
LIB_FLAGS := $(shell pkg-config --cflags $(LIBS))
LDLIBS    := $(shell pkg-config --libs $(LIBS)) -pthread -ldl -lm
TEST_LIBS  = $(shell pkg-config --libs cmocka)

# Products and sums are contracted only where a kernel says so: the order of sums is a definition.
CFLAGS += -std=c11 -D_GNU_SOURCE -Isrc -g -ffp-contract=off -fno-common -fvisibility=hidden -pthread \
          $(OPT_$(MODE)) $(WARN) $(LIB_FLAGS)

# One file per instruction set; nothing else is compiled for more than the base architecture.
AVX2   := -mavx2 -mfma -mf16c
AVX512 := $(AVX2) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512vbmi
isa     = $(if $(findstring _avx512.,$1),$(AVX512),$(if $(findstring _avx2.,$1),$(AVX2)))

# The fuzzed readers stand on these folders alone.
FOLDERS ?= $(if $(filter fuzz,$(MODE)),base num tmpl chat net gguf graph tok model)
SRC     := $(sort $(shell find $(if $(FOLDERS),$(wildcard $(FOLDERS:%=src/%)),src) -name '*.c'))
HEADERS := $(sort $(shell find src -name '*.h'))
ifneq ($(ARCH),x86_64)
NOT_HERE = $(if $(findstring /x86/,$1)$(findstring _avx2.,$1)$(findstring _avx512.,$1),$1)
SRC     := $(foreach f,$(SRC),$(if $(call NOT_HERE,$f),,$f))
HEADERS := $(foreach f,$(HEADERS),$(if $(call NOT_HERE,$f),,$f))
endif

TEST_SRC  := $(sort $(shell find tests -name 'test_*.c'))
HELP_SRC  := $(sort $(shell find tests -name '*.c' ! -name 'test_*.c' ! -path 'tests/fuzz/*'))
FUZZ_SRC  := $(wildcard tests/fuzz/fuzz_*.c)
TOOL_SRC  := $(wildcard tools/*.c)
BENCH_SRC := $(wildcard bench/*.c)
PART_SRC  := $(wildcard tools/*/*.c)

obj = $(patsubst %.c,$(B)/obj/%.o,$1)
LIB   := $(B)/libsnug.a
HELP  := $(B)/libtests.a
TESTS := $(TEST_SRC:%.c=$(B)/%)
FUZZ  := $(FUZZ_SRC:tests/fuzz/%.c=$(B)/%)
TOOLS := $(TOOL_SRC:%.c=$(B)/%)
BENCH := $(BENCH_SRC:%.c=$(B)/%)

.PHONY: all snug tools tests bench fuzz headers clean
.SECONDARY:
all: snug tools
snug: $(B)/snug
tests: $(TESTS)
tools: $(TOOLS)
bench: $(BENCH)
fuzz: $(FUZZ)

$(LIB): $(call obj,$(filter-out src/cli/main.c,$(SRC)))
	@rm -f $@
	$(AR) rcs $@ $^

$(B)/snug: $(call obj,src/cli/main.c) $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(HELP): $(call obj,$(HELP_SRC))
	@rm -f $@
	$(AR) rcs $@ $^

$(TESTS): $(B)/%: $(B)/obj/%.o $(HELP) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(TEST_LIBS) $(LDLIBS)

# A tool's parts, if it has any, are in a folder of its name.
$(TOOLS): $(call obj,$(PART_SRC))
$(TOOLS) $(BENCH): $(B)/%: $(B)/obj/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(LDLIBS)

$(FUZZ): $(B)/%: $(B)/obj/tests/fuzz/%.o $(LIB)
	$(CC) $(CFLAGS) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/obj/tests/%.o: CFLAGS += -Itests
$(B)/obj/tools/%.o: CFLAGS += -Itools
$(B)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(call isa,$<) -MMD -MP -c -o $@ $<

# Each header compiles alone, so that any file may include it first.
headers: $(HEADERS:%=$(B)/headers/%.ok)
$(B)/headers/%.ok: % Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(call isa,$<) -MMD -MP -MF $(@:.ok=.d) -MT $@ -fsyntax-only -include $< -x c /dev/null
	@touch $@

clean:
	rm -rf build

-include $(shell find $(B)/obj $(B)/headers -name '*.d' 2>/dev/null)
