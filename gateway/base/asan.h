/*
 * asan - UNDER_ASAN is 1 where this is compiled with AddressSanitizer, else 0
 *
 * It takes memory, address space and stack of its own, and reads /proc: what is limited or taken away for safety's sake cannot be then.
 * Nor where lines are counted (make coverage): the counters are written to files at the end. UNCONFINED is 1 for both.
 */
#ifndef ASAN_H
#define ASAN_H

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif
#ifndef UNDER_COVERAGE
#define UNDER_COVERAGE 0
#endif
#define UNCONFINED (UNDER_ASAN || UNDER_COVERAGE)

#endif
