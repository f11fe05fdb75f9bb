/*
 * auto - locals that clean up after themselves, by the GNU cleanup attribute
 *
 *     AUTO(buf) struct buf b = BUF_INIT(4096);
 *
 * calls buf_cleanup(&b) when b goes out of scope, by whatever return. AUTO_DEFINE makes that
 * function for a type that is held by pointer and has x_free().
 */
#ifndef AUTO_H
#define AUTO_H

#define AUTO(x) __attribute__((cleanup(x##_cleanup)))

#define AUTO_DEFINE(x)                                                                             \
	static inline void x##_cleanup(struct x **p)                                               \
	{                                                                                          \
		x##_free(*p);                                                                      \
	}

#endif
