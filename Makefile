# Gatepost. `make help` lists what there is to make.

VERSION := 0.1
PREFIX  ?= /usr/local
SYSCONFDIR ?= /etc/gatepost
BUILD   ?= build
CC      ?= gcc
PYTHON  := /usr/bin/python3

PACKAGES := libevent libevent_pthreads libunbound openssl opendkim libpsl libidn2 libpcre2-8 libconfuse sqlite3 jansson
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla -Wframe-larger-than=4096 -Wno-unused-parameter
CPPFLAGS += -D_GNU_SOURCE -DGATEPOST_VERSION='"$(VERSION)"' -I. -Igateway
CFLAGS ?= -O2 -g
# -fno-strict-aliasing: the socket API is made of casts between sockaddr types.
ALL_CFLAGS = -std=gnu11 -fno-strict-aliasing $(WARN) $(CFLAGS) $(shell pkg-config --cflags $(PACKAGES)) -MMD -MP
LIBS = $(shell pkg-config --libs $(PACKAGES)) -lspf2 -lopendmarc -lresolv -lm

# SAN=1: everything under the address and undefined sanitizers, in a build directory of its own.
ifdef SAN
BUILD := $(BUILD)/san
CFLAGS := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
WARN := $(filter-out -Wframe-larger-than=4096,$(WARN))
endif

SRC := $(wildcard gateway/*/*.c gateway/*/*.S filters/*.c policy/*.c)
OBJ := $(addprefix $(BUILD)/,$(addsuffix .o,$(basename $(SRC))))
LIBOBJ := $(filter-out $(BUILD)/gateway/command/main.o,$(OBJ))
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))
TESTLIB := $(addprefix $(BUILD)/,$(addsuffix .o,$(basename $(wildcard tests/support/*.c))))
CONFORMANCE := $(patsubst tests/conformance/%.c,$(BUILD)/tests/conformance/%,$(wildcard tests/conformance/run_*.c))

all: $(BUILD)/gatepost

$(BUILD)/gatepost: $(OBJ)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/libgatepost.a: $(LIBOBJ)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/%.o: %.S Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -c -o $@ $<

$(BUILD)/tests/unit/%: tests/unit/%.c $(BUILD)/libgatepost.a $(TESTLIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests $(ALL_CFLAGS) $(LDFLAGS) -o $@ $< $(TESTLIB) $(BUILD)/libgatepost.a -lcmocka $(LIBS)

$(BUILD)/tests/conformance/%: tests/conformance/%.c $(BUILD)/libgatepost.a $(TESTLIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests $(ALL_CFLAGS) $(LDFLAGS) -o $@ $< $(TESTLIB) $(BUILD)/libgatepost.a -lcmocka $(LIBS)

units: $(UNIT)
conformances: $(CONFORMANCE)

# unit: each program prints its own cases; the first that fails stops.
unit: units
	@for t in $(UNIT); do echo "== $$t"; $$t || exit 1; done

clean:
	rm -rf build

-include $(OBJ:.o=.d) $(UNIT:=.d) $(CONFORMANCE:=.d) $(TESTLIB:.o=.d)

.PHONY: all unit units conformances clean
.SECONDARY:
