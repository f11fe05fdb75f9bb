/*
 * asan - UNDER_ASAN is 1 where this is compiled with AddressSanitizer, else 0
 *
 * It takes memory, address space and stack of its own, and reads /proc: what is limited or taken away for safety's sake cannot be then.
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

#endif
