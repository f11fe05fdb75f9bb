# Gatepost: `make` builds, `make run` shows it, `make test` tests it; `make help` lists the rest.

VERSION := 0.1
PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc/gatepost
BUILD   ?= build
ifeq ($(origin CC),default)
CC      := gcc
endif
PYTHON  := /usr/bin/python3

# Debian packages: to build, to test, to compare with in the bench. What each library is for: README, "Parts".
DEPS := gcc libc6-dev make pkg-config libevent-dev libunbound-dev libssl-dev libspf2-dev libopendkim-dev libopendmarc-dev \
	libpsl-dev libidn2-dev libunistring-dev libpcre2-dev libconfuse-dev libsqlite3-dev libjansson-dev libhiredis-dev libarchive-dev \
	zlib1g-dev libexpat1-dev libseccomp-dev libldap-dev publicsuffix curl
DEPS_TEST := clang libclang-rt-14-dev lld libcmocka-dev python3 python3-pytest python3-pytest-xdist python3-yaml python3-dkim python3-authres python3-spf python3-srs \
	postfix dovecot-core dovecot-imapd dovecot-pop3d isync fetchmail \
	haproxy opendkim libmilter-dev knot redis-server clamav-daemon rspamd spamd slapd ldap-utils swaks libnet-ssleay-perl libdigest-hmac-perl libarchive-tools gcovr valgrind \
	openssl ca-certificates iproute2 nftables procps strace e2fsprogs mount systemd libxml2-utils
DEPS_LINT := clang clang-tidy cppcheck mandoc libcmocka-dev python3 python3-pyflakes git
DEPS_BENCH := haproxy clamav-daemon postfix opendkim opendkim-tools opendmarc postgrey postfix-policyd-spf-python knot python3-dkim python3-dnspython \
	nginx libnginx-mod-mail perdition dovecot-imapd dovecot-pop3d openssl

PACKAGES := libevent openssl opendkim libpsl libidn2 libpcre2-8 libconfuse sqlite3 jansson hiredis libarchive libseccomp ldap lber zlib expat
# Asked once, and only when something is compiled.
pkg_config = $(if $(shell pkg-config --exists $(PACKAGES) && echo yes),$(shell pkg-config $(1) $(PACKAGES)),\
	$(error libraries are missing: "make deps" installs them as root, and names them for others))
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(call pkg_config,--cflags))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $$(call pkg_config,--libs))$(PKG_LIBS)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla -Wframe-larger-than=4096 -Wno-unused-parameter
CPPFLAGS += -D_GNU_SOURCE -DGATEPOST_VERSION='"$(VERSION)"' -DGATEPOST_CONFIG='"$(SYSCONFDIR)/gatepost.conf"' -I. -Igateway
CFLAGS ?= -O2 -g
# Exposed to the Internet: what Debian's own hardening flags are. -fno-strict-aliasing: the socket API is made of casts.
HARDEN := -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2
LDHARDEN := -pie -Wl,-z,relro -Wl,-z,now
ALL_CFLAGS = -std=gnu11 -fno-strict-aliasing $(WARN) $(CFLAGS) $(HARDEN) $(PKG_CFLAGS) -MMD -MP
# Without a file for pkg-config, but libunbound, whose file asks for those of nettle, which its package does not bring.
LIBS = $(PKG_LIBS) -lunistring -lunbound -lspf2 -lopendmarc -lresolv -lm

# SAN=1: under the address and undefined sanitizers. FUZZ=1: with clang, for libFuzzer. Each has a directory of its own.
SANITIZE := address,undefined
ifdef SAN
override BUILD := $(BUILD)/san
endif
ifdef FUZZ
override BUILD := $(BUILD)/fuzz
CC := clang
SANITIZE := fuzzer-no-link,address,undefined
endif
ifneq ($(SAN)$(FUZZ),)
# -g1, for lines are all that a sanitizer tells; and lld, which links in a half to a third of the time: there are hundreds of programs.
CFLAGS := -O1 -g1 -fsanitize=$(SANITIZE) -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LINKER := -fuse-ld=lld
LDFLAGS += $(LINKER) -fsanitize=address,undefined
HARDEN :=
LDHARDEN :=
# Redzones make every frame larger.
WARN := $(filter-out -Wframe-larger-than=4096,$(WARN))
endif

# COV=1: counts what is run through (make coverage). Processes that end by _exit write their counters, too.
ifdef COV
override BUILD := $(BUILD)/cov
CFLAGS := -O1 -g --coverage -fprofile-update=atomic -DUNDER_COVERAGE=1
LDFLAGS += --coverage -Wl,--wrap=_exit
HARDEN :=
LDHARDEN :=
FLUSH := $(BUILD)/tests/coverage/flush.o
WARN := $(filter-out -Wframe-larger-than=4096,$(WARN))
endif

# Tests run on the ordinary stack.
$(BUILD)/tests/%.o: WARN := $(filter-out -Wframe-larger-than=4096,$(WARN))

SRC := $(wildcard gateway/*/*.c gateway/*/*.S filters/*.c policy/*.c)
OBJ := $(addprefix $(BUILD)/,$(addsuffix .o,$(basename $(SRC))))
LIBOBJ := $(filter-out $(BUILD)/gateway/command/main.o,$(OBJ))
PRELOAD := $(patsubst tests/preload/%.c,$(BUILD)/tests/preload/%.so,$(wildcard tests/preload/*.c))
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))
TESTLIB := $(addprefix $(BUILD)/,$(addsuffix .o,$(basename $(wildcard tests/support/*.c))))
# Whole sessions in memory: system calls of their own (tests/rig/kernel.h), so only for the programs that want that.
RIG := $(addprefix $(BUILD)/,$(addsuffix .o,$(basename $(wildcard tests/rig/*.c))))
RIGGED := $(patsubst %.c,$(BUILD)/%,$(shell grep -l '"rig/' $(wildcard tests/unit/*.c tests/fuzz/*.c)))
# Unit tests make Gatepost's own allocations fail: tests/support/scarce.h.
comma := ,
SCARCE := $(addprefix -Wl$(comma)--wrap=,malloc calloc realloc reallocarray strdup strndup)
# For lint: all that is compiled; what counts lines is gcc's.
LINTED := $(addprefix $(BUILD)/,$(addsuffix .o,$(basename $(SRC) $(filter-out tests/preload/% $(if $(filter clang,$(CC)),tests/coverage/%),\
	$(wildcard tests/*/*.c)))))
CONFORM := $(patsubst tests/conformance/%.c,$(BUILD)/tests/conformance/%,$(wildcard tests/conformance/run_*.c))
BENCH := $(patsubst tests/bench/%.c,$(BUILD)/tests/bench/%,$(wildcard tests/bench/*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
MANUALS := conf/gatepost.8 conf/gatepost.conf.5 conf/gatepost-policy.5

all: $(BUILD)/gatepost

help:
	@echo 'make            build $(BUILD)/gatepost'
	@echo 'make run        demo on 127.0.0.1:2525; BACKEND=host:port DOMAIN=example.com: before a real server'
	@echo 'make test       everything below, under the sanitizers: unit, conformance, fuzz-short, e2e'
	@echo '                CONFORMANCE=DIR: the public suites, too'
	@echo 'make unit | conformance | fuzz-short | e2e; RUN_ARGS="--only WORD": of these, what has the word in its name'
	@echo 'make fuzz       every fuzz target for FUZZ_SECONDS (600)'
	@echo 'make coverage   how many lines the unit and end-to-end tests run through, by file'
	@echo 'make fault      mail at load for FAULT_SECONDS (600) while all around it breaks, two things at once, from FAULT_SEED; lines cut at'
	@echo '                every byte position of long sessions'
	@echo 'make soak       tests of load at full size, then mixed mail for SOAK_SECONDS (1800): memory stays flat'
	@echo 'make valgrind   the unit tests under valgrind'
	@echo 'make bench      speed and memory, beside HAProxy, Postfix with its add-ons, nginx and perdition'
	@echo 'make lint       gcc and clang warnings, cppcheck, clang-tidy, manual pages, python, the plan of the house'
	@echo 'make deps | deps-test | deps-lint | deps-bench: the Debian packages for it, installed as root, for others named'
	@echo 'make install    below DESTDIR and PREFIX ($(PREFIX)); SYSCONFDIR ($(SYSCONFDIR))'
	@echo 'make clean'

# What is missing is installed by root, without starting the daemons; for others it is named, ready to copy.
define install_packages
	@have=$$(dpkg-query -W -f='$${Package}:$${db:Status-Status}\n' $(1) 2>/dev/null); missing=; \
	for p in $(1); do \
		printf '%s\n' "$$have" | grep -qxF "$$p:installed" || missing="$$missing $$p"; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" != 0 ]; then \
		echo "missing packages; as root: apt-get install --no-install-recommends$$missing" >&2; exit 1; \
	fi; \
	made=; if [ ! -e /usr/sbin/policy-rc.d ]; then \
		made=1; printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; \
	fi; \
	trap '[ -z "$$made" ] || rm -f /usr/sbin/policy-rc.d' EXIT; trap 'exit 1' INT TERM; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing
endef

deps:
	$(call install_packages,$(DEPS))
deps-test:
	$(call install_packages,$(sort $(DEPS) $(DEPS_TEST)))
deps-lint:
	$(call install_packages,$(sort $(DEPS) $(DEPS_LINT)))
deps-bench:
	$(call install_packages,$(sort $(DEPS) $(DEPS_BENCH)))

$(BUILD)/gatepost: $(BUILD)/gateway/command/main.o $(BUILD)/libgatepost.a
	$(CC) $(LDFLAGS) $(LDHARDEN) -o $@ $^ $(LIBS)

$(BUILD)/libgatepost.a: $(LIBOBJ) $(FLUSH)
	@rm -f $@
	ar rcs $@ $^

# What was compiled with other settings is compiled again: make CFLAGS=-O0, make install SYSCONFDIR=/etc/mail.
$(BUILD)/settings: FORCE
	$(shell mkdir -p $(@D))$(file >$@.new,$(CC) $(CPPFLAGS) $(ALL_CFLAGS) $(LDFLAGS))
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
FORCE:

$(BUILD)/%.o: %.c Makefile $(BUILD)/settings
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/%.o: %.S Makefile $(BUILD)/settings
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -c -o $@ $<

$(RIGGED): $(RIG)
$(RIGGED): MORE := $(RIG)

$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/libgatepost.a $(TESTLIB)
	$(CC) $(LINKER) -fsanitize=fuzzer,address,undefined $(SCARCE) -o $@ $< $(MORE) $(TESTLIB) $(BUILD)/libgatepost.a $(LIBS)

# What the tests put before a library of the gateway's.
$(BUILD)/tests/preload/%.so: tests/preload/%.c Makefile $(BUILD)/settings
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -std=gnu11 $(WARN) $(CFLAGS) -fPIC -shared -o $@ $<

$(BUILD)/tests/bench/arc $(BUILD)/tests/bench/dkim: $(BUILD)/tests/support/dns_any.o
$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o $(BUILD)/libgatepost.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libgatepost.a $(TESTLIB)
	$(CC) $(LDFLAGS) $(SCARCE) -o $@ $< $(MORE) $(TESTLIB) $(BUILD)/libgatepost.a -lcmocka $(LIBS)

# Answers of a box that are the test's own.
$(BUILD)/tests/unit/test_unpack $(BUILD)/tests/unit/test_dmarc_report_file: LDFLAGS += -Wl,--wrap=box_run

units: $(UNIT)
conformances: $(CONFORM)
fuzzers: $(FUZZERS)
benches: $(BENCH)
preloads: $(PRELOAD)
linted: $(LINTED) $(PRELOAD)

JOBS := $(shell nproc)
FUZZ_SECONDS ?= 600
FAULT_SECONDS ?= 600

run: deps
	@$(MAKE) -s -j$(JOBS) all
	@exec env BUILD=$(BUILD) BACKEND='$(BACKEND)' DOMAIN='$(DOMAIN)' sh conf/demo/run.sh

# What `make test` runs is built in three variants: with the sanitizers; with clang for the fuzzers; and plain, for what the
# sanitizers' memory and system calls make senseless. tests/run.py runs the programs, counts their cases and closes with the sum.
UNIT_PLAIN := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(shell grep -lE 'UNDER_ASAN|UNCONFINED' $(wildcard tests/unit/test_*.c)))
units-plain: $(UNIT_PLAIN)

RUN := $(PYTHON) tests/run.py $(RUN_ARGS)

unit: deps-test
	@$(MAKE) -s -j$(JOBS) SAN=1 units
	@$(MAKE) -s -j$(JOBS) units-plain
	@$(RUN) unit
conformance: deps-test
	@$(MAKE) -s -j$(JOBS) SAN=1 conformances
	@$(RUN) conformance
fuzz-short: deps-test
	@$(MAKE) -s -j$(JOBS) FUZZ=1 fuzzers
	@$(RUN) fuzz
fuzz: deps-test
	@$(MAKE) -s -j$(JOBS) FUZZ=1 fuzzers
	@$(RUN) fuzz --seconds $(FUZZ_SECONDS)
e2e: deps-test
	@$(MAKE) -s -j$(JOBS) SAN=1 all
	@$(MAKE) -s -j$(JOBS) all preloads
	@$(RUN) e2e
fault: deps-test
	@$(MAKE) -s -j$(JOBS) SAN=1 all
	@$(MAKE) -s -j$(JOBS) all preloads
	@FAULT_SECONDS=$(FAULT_SECONDS) FAULT_SEED=$(FAULT_SEED) $(RUN) e2e --only "test_faults or test_cuts" --pytest=-n0
	@GATEPOST_FAULT=1 $(RUN) e2e --only test_injection
test: deps-test
	@$(MAKE) -s -j$(JOBS) SAN=1 all units conformances
	@$(MAKE) -s -j$(JOBS) FUZZ=1 fuzzers
	@$(MAKE) -s -j$(JOBS) all units-plain preloads
	@$(RUN) unit conformance fuzz e2e
# Of a clean build, since counters add up. Shown even when a test has failed.
coverage: deps-test
	@rm -rf $(BUILD)/cov
	@$(MAKE) -s -j$(JOBS) COV=1 all units
	@$(MAKE) -s -j$(JOBS) all units-plain preloads
	@$(RUN) --variant cov unit e2e; status=$$?; $(PYTHON) tests/coverage/report.py $(BUILD)/cov && exit $$status
# At full size and for long: many clients who want nothing good, then all that a gateway does for SOAK_SECONDS.
SOAK_SECONDS ?= 1800
soak: deps-test
	@$(MAKE) -s -j$(JOBS) all
	@env LOAD=full GATEPOST=$(abspath $(BUILD))/gatepost GATEPOST_PLAIN=$(abspath $(BUILD))/gatepost SOAK_SECONDS=$(SOAK_SECONDS) \
		$(PYTHON) -m pytest -q -s -p no:cacheprovider tests/e2e/test_load.py tests/e2e/test_load_content.py tests/e2e/test_soak.py
# Some twenty minutes on two cores that have nothing else to do. Leaks are looked for by LeakSanitizer, in the same programs of "unit".
valgrind: deps-test
	@$(MAKE) -s -j$(JOBS) all units
	@$(RUN) valgrind
bench: deps-bench
	@$(MAKE) -s -j$(JOBS) all benches
	@$(PYTHON) tests/bench/bench.py $(BENCH_ARGS)

lint: deps-lint
	@$(MAKE) -s -j$(JOBS) BUILD=build/lint-gcc CFLAGS='-O2 -Werror' linted
	@$(MAKE) -s -j$(JOBS) BUILD=build/lint-clang CC=clang CFLAGS='-O2 -Werror' linted
	cppcheck -q -j $(JOBS) --std=c11 --error-exitcode=1 --inline-suppr --suppressions-list=tests/cppcheck.txt \
		--enable=warning,portability -D__x86_64__ -D__linux__ -D__GNUC__=12 -I. -Igateway gateway filters policy
	@echo clang-tidy
	@printf '%s\n' $(filter %.c,$(SRC)) | xargs -P $(JOBS) -n 4 sh -c 'exec clang-tidy --quiet "$$@" -- -std=gnu11 -D_GNU_SOURCE \
		-DGATEPOST_VERSION=\"\" -DGATEPOST_CONFIG=\"\" -I. -Igateway $(PKG_CFLAGS) 2>/dev/null' clang-tidy
	mandoc -T lint -W warning $(MANUALS)
	$(PYTHON) -m pyflakes tests
	$(PYTHON) tests/layout.py

install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(SYSCONFDIR) $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/sysusers.d \
		$(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 755 $(BUILD)/gatepost $(DESTDIR)$(PREFIX)/sbin/gatepost
	for f in gatepost.conf policy.conf; do \
		[ -e $(DESTDIR)$(SYSCONFDIR)/$$f ] || install -m 644 conf/$$f $(DESTDIR)$(SYSCONFDIR)/$$f; \
	done
	sed 's|@SBINDIR@|$(PREFIX)/sbin|; s|@SYSCONFDIR@|$(SYSCONFDIR)|' conf/gatepost.service \
		>$(DESTDIR)$(PREFIX)/lib/systemd/system/gatepost.service
	install -m 644 conf/gatepost.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/gatepost.conf
	install -m 644 conf/gatepost.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -m 644 conf/gatepost.conf.5 conf/gatepost-policy.5 $(DESTDIR)$(PREFIX)/share/man/man5/

clean:
	rm -rf build

-include $(OBJ:.o=.d) $(UNIT:=.d) $(CONFORM:=.d) $(FUZZERS:=.d) $(BENCH:=.d) $(TESTLIB:.o=.d) $(RIG:.o=.d)

.PHONY: all help deps deps-test deps-lint deps-bench units units-plain conformances fuzzers benches preloads linted run \
	unit conformance fuzz-short e2e test fuzz coverage fault soak valgrind bench lint install clean FORCE
.SECONDARY:
