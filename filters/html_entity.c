#include "filters/html_entity.h"

#include <stdbool.h>
#include <string.h>

enum { LATIN = 96, SLOTS = 1024, NAME_MAX_BYTES = 24, REPLACEMENT = 0xfffd, UNICODE_MAX = 0x10ffff };

/* U+00A0 to U+00FF. */
static const char *const latin[LATIN] = {
	"nbsp", "iexcl", "cent", "pound", "curren", "yen", "brvbar", "sect", "uml", "copy", "ordf", "laquo",
	"not", "shy", "reg", "macr", "deg", "plusmn", "sup2", "sup3", "acute", "micro", "para", "middot",
	"cedil", "sup1", "ordm", "raquo", "frac14", "frac12", "frac34", "iquest", "Agrave", "Aacute", "Acirc", "Atilde",
	"Auml", "Aring", "AElig", "Ccedil", "Egrave", "Eacute", "Ecirc", "Euml", "Igrave", "Iacute", "Icirc", "Iuml",
	"ETH", "Ntilde", "Ograve", "Oacute", "Ocirc", "Otilde", "Ouml", "times", "Oslash", "Ugrave", "Uacute", "Ucirc",
	"Uuml", "Yacute", "THORN", "szlig", "agrave", "aacute", "acirc", "atilde", "auml", "aring", "aelig", "ccedil",
	"egrave", "eacute", "ecirc", "euml", "igrave", "iacute", "icirc", "iuml", "eth", "ntilde", "ograve", "oacute",
	"ocirc", "otilde", "ouml", "divide", "oslash", "ugrave", "uacute", "ucirc", "uuml", "yacute", "thorn", "yuml",
};

static const struct { const char *name; uint32_t code; } others[] = {
	/* Letters' and signs' own names: with them a word is written that no rule finds. */
	{ "Tab", '\t' }, { "NewLine", '\n' }, { "excl", '!' }, { "quot", '"' }, { "QUOT", '"' }, { "num", '#' }, { "dollar", '$' },
	{ "percnt", '%' }, { "amp", '&' }, { "AMP", '&' }, { "apos", '\'' }, { "lpar", '(' }, { "rpar", ')' }, { "ast", '*' },
	{ "midast", '*' }, { "plus", '+' }, { "comma", ',' }, { "period", '.' }, { "sol", '/' }, { "colon", ':' }, { "semi", ';' },
	{ "lt", '<' }, { "LT", '<' }, { "equals", '=' }, { "gt", '>' }, { "GT", '>' }, { "quest", '?' }, { "commat", '@' },
	{ "lsqb", '[' }, { "lbrack", '[' }, { "bsol", '\\' }, { "rsqb", ']' }, { "rbrack", ']' }, { "Hat", '^' }, { "lowbar", '_' },
	{ "grave", '`' }, { "lcub", '{' }, { "lbrace", '{' }, { "verbar", '|' }, { "vert", '|' }, { "rcub", '}' }, { "rbrace", '}' },
	{ "NonBreakingSpace", 0xa0 }, { "COPY", 0xa9 }, { "REG", 0xae }, { "OElig", 0x152 }, { "oelig", 0x153 }, { "Scaron", 0x160 },
	{ "scaron", 0x161 }, { "Yuml", 0x178 }, { "fnof", 0x192 }, { "fjlig", 'f' }, { "circ", 0x2c6 }, { "tilde", 0x2dc },
	{ "Alpha", 0x391 }, { "Beta", 0x392 }, { "Gamma", 0x393 }, { "Delta", 0x394 }, { "Epsilon", 0x395 }, { "Zeta", 0x396 },
	{ "Eta", 0x397 }, { "Theta", 0x398 }, { "Iota", 0x399 }, { "Kappa", 0x39a }, { "Lambda", 0x39b }, { "Mu", 0x39c },
	{ "Nu", 0x39d }, { "Xi", 0x39e }, { "Omicron", 0x39f }, { "Pi", 0x3a0 }, { "Rho", 0x3a1 }, { "Sigma", 0x3a3 },
	{ "Tau", 0x3a4 }, { "Upsilon", 0x3a5 }, { "Phi", 0x3a6 }, { "Chi", 0x3a7 }, { "Psi", 0x3a8 }, { "Omega", 0x3a9 },
	{ "alpha", 0x3b1 }, { "beta", 0x3b2 }, { "gamma", 0x3b3 }, { "delta", 0x3b4 }, { "epsilon", 0x3b5 }, { "zeta", 0x3b6 },
	{ "eta", 0x3b7 }, { "theta", 0x3b8 }, { "iota", 0x3b9 }, { "kappa", 0x3ba }, { "lambda", 0x3bb }, { "mu", 0x3bc },
	{ "nu", 0x3bd }, { "xi", 0x3be }, { "omicron", 0x3bf }, { "pi", 0x3c0 }, { "rho", 0x3c1 }, { "sigmaf", 0x3c2 },
	{ "sigma", 0x3c3 }, { "tau", 0x3c4 }, { "upsilon", 0x3c5 }, { "phi", 0x3c6 }, { "chi", 0x3c7 }, { "psi", 0x3c8 },
	{ "omega", 0x3c9 }, { "thetasym", 0x3d1 }, { "upsih", 0x3d2 }, { "piv", 0x3d6 }, { "ensp", 0x2002 }, { "emsp", 0x2003 },
	{ "thinsp", 0x2009 }, { "hairsp", 0x200a }, { "ZeroWidthSpace", 0x200b }, { "zwnj", 0x200c }, { "zwj", 0x200d },
	{ "lrm", 0x200e }, { "rlm", 0x200f }, { "hyphen", 0x2010 }, { "dash", 0x2010 }, { "ndash", 0x2013 }, { "mdash", 0x2014 },
	{ "lsquo", 0x2018 }, { "rsquo", 0x2019 }, { "sbquo", 0x201a }, { "ldquo", 0x201c }, { "rdquo", 0x201d }, { "bdquo", 0x201e },
	{ "dagger", 0x2020 }, { "Dagger", 0x2021 }, { "bull", 0x2022 }, { "hellip", 0x2026 }, { "permil", 0x2030 },
	{ "prime", 0x2032 }, { "Prime", 0x2033 }, { "lsaquo", 0x2039 }, { "rsaquo", 0x203a }, { "oline", 0x203e },
	{ "frasl", 0x2044 }, { "NoBreak", 0x2060 }, { "euro", 0x20ac }, { "image", 0x2111 }, { "numero", 0x2116 },
	{ "weierp", 0x2118 }, { "real", 0x211c }, { "trade", 0x2122 }, { "alefsym", 0x2135 }, { "larr", 0x2190 },
	{ "uarr", 0x2191 }, { "rarr", 0x2192 }, { "darr", 0x2193 }, { "harr", 0x2194 }, { "crarr", 0x21b5 }, { "lArr", 0x21d0 },
	{ "uArr", 0x21d1 }, { "rArr", 0x21d2 }, { "dArr", 0x21d3 }, { "hArr", 0x21d4 }, { "forall", 0x2200 }, { "part", 0x2202 },
	{ "exist", 0x2203 }, { "empty", 0x2205 }, { "nabla", 0x2207 }, { "isin", 0x2208 }, { "notin", 0x2209 }, { "ni", 0x220b },
	{ "prod", 0x220f }, { "sum", 0x2211 }, { "minus", 0x2212 }, { "lowast", 0x2217 }, { "radic", 0x221a }, { "prop", 0x221d },
	{ "infin", 0x221e }, { "ang", 0x2220 }, { "and", 0x2227 }, { "or", 0x2228 }, { "cap", 0x2229 }, { "cup", 0x222a },
	{ "int", 0x222b }, { "there4", 0x2234 }, { "sim", 0x223c }, { "cong", 0x2245 }, { "asymp", 0x2248 }, { "ne", 0x2260 },
	{ "equiv", 0x2261 }, { "le", 0x2264 }, { "ge", 0x2265 }, { "sub", 0x2282 }, { "sup", 0x2283 }, { "nsub", 0x2284 },
	{ "sube", 0x2286 }, { "supe", 0x2287 }, { "oplus", 0x2295 }, { "otimes", 0x2297 }, { "perp", 0x22a5 }, { "sdot", 0x22c5 },
	{ "lceil", 0x2308 }, { "rceil", 0x2309 }, { "lfloor", 0x230a }, { "rfloor", 0x230b }, { "lang", 0x27e8 }, { "rang", 0x27e9 },
	{ "loz", 0x25ca }, { "check", 0x2713 }, { "spades", 0x2660 }, { "clubs", 0x2663 }, { "hearts", 0x2665 }, { "diams", 0x2666 },
};

enum { NAMES = LATIN + sizeof(others) / sizeof(*others) };

/* Of 128 to 159: what windows-1252 has there. */
static const uint16_t windows[32] = {
	0x20ac, 0x81, 0x201a, 0x192, 0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160, 0x2039, 0x152, 0x8d, 0x17d, 0x8f,
	0x90, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x2dc, 0x2122, 0x161, 0x203a, 0x153, 0x9d, 0x17e, 0x178,
};

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int digit(char c, unsigned base)
{
	int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

	return d < (int)base ? d : -1;
}

static uint32_t number(const char *p, size_t len, size_t *used)
{
	bool hex = len > 2 && (p[2] == 'x' || p[2] == 'X');
	unsigned base = hex ? 16 : 10;
	size_t start = hex ? 3 : 2, i = start;
	uint32_t code = 0;
	int d;

	for (; i < len && (d = digit(p[i], base)) >= 0; i++)
		code = code > UNICODE_MAX ? code : code * base + (uint32_t)d;
	if (i == start)
		return 0;
	*used = i < len && p[i] == ';' ? i + 1 : i;
	if (code >= 128 && code < 160)
		return windows[code - 128];
	return code == 0 || code > UNICODE_MAX || (code >= 0xd800 && code <= 0xdfff) ? REPLACEMENT : code;
}

static const char *name_of(size_t i)
{
	return i < LATIN ? latin[i] : others[i - LATIN].name;
}

static unsigned slot_of(const char *p, size_t len)
{
	unsigned h = 2166136261u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)p[i]) * 16777619u;
	return h % SLOTS;
}

/* Where each name is, plus 1; a message may have a reference for each second octet, so none looks through them all. */
static const uint16_t *slots(void)
{
	static uint16_t table[SLOTS];
	static bool made;

	for (size_t i = 0; !made && i < NAMES; i++) {
		unsigned at = slot_of(name_of(i), strlen(name_of(i)));

		while (table[at])
			at = (at + 1) % SLOTS;
		table[at] = (uint16_t)(i + 1);
	}
	made = true;
	return table;
}

static uint32_t named(const char *p, size_t len)
{
	const uint16_t *table = slots();

	for (unsigned at = slot_of(p, len); table[at]; at = (at + 1) % SLOTS) {
		size_t i = table[at] - 1u;

		if (strlen(name_of(i)) == len && memcmp(name_of(i), p, len) == 0)
			return i < LATIN ? (uint32_t)(0xa0 + i) : others[i - LATIN].code;
	}
	return 0;
}

uint32_t html_entity(const char *p, size_t len, size_t *used)
{
	size_t n = 1;

	if (len > 1 && p[1] == '#')
		return number(p, len, used);
	while (n < len && n <= NAME_MAX_BYTES && is_alnum(p[n]))
		n++;
	*used = n < len && p[n] == ';' ? n + 1 : n;
	return named(p + 1, n - 1);
}
