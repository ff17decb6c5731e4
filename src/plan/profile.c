// profile.c - finds profiles by the names people use.

#include "plan/profile_int.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLAIN_BYTES = 24, // of a plain name, with its 0
    MAX_TIMES = 64,
};

const char *provenance_name(enum provenance p)
{
    static const char *const names[] = { "measured", "published", "assumed" };

    return names[p];
}

int profile_count(void)
{
    return profile_table_n;
}

const struct profile *profile_at(int i)
{
    return &profile_table[i];
}

// --- names ---------------------------------------------------------------------------------------

/// "NVIDIA GeForce RTX 3090 Ti" -> "3090ti"; false where it is too long to be a name.
static bool plain_name(char out[PLAIN_BYTES], const char *p, size_t n)
{
    static const char *const front[] = { "nvidia", "geforce", "tesla", "rtx", "gtx" };
    char all[2 * PLAIN_BYTES];
    size_t len = 0, at = 0;

    for (size_t i = 0; i < n; i++) {
        if (p[i] == ' ' || p[i] == '-' || p[i] == '_')
            continue;
        if (len == sizeof(all) - 1)
            return false;
        all[len++] = (char)tolower((unsigned char)p[i]);
    }
    all[len] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(front); i++)
        if (strncmp(all + at, front[i], strlen(front[i])) == 0)
            at += strlen(front[i]);
    if (len - at >= PLAIN_BYTES)
        return false;
    memcpy(out, all + at, len - at + 1);
    return true;
}

const struct profile *profile_find(const char *name, size_t n)
{
    char want[PLAIN_BYTES], have[PLAIN_BYTES];

    if (!plain_name(want, name, n))
        return NULL;
    for (int i = 0; i < profile_table_n; i++) {
        const struct profile *p = &profile_table[i];
        if (plain_name(have, p->name, strlen(p->name)) && strcmp(want, have) == 0)
            return p;
    }
    return NULL;
}

/// "k80x2" -> its profile and 2; a name alone is one.
static const struct profile *find_times(const char *item, size_t n, int *times)
{
    const struct profile *p = profile_find(item, n);
    size_t at = n;
    int t = 0;

    *times = 1;
    if (p != NULL)
        return p;
    while (at > 0 && n - at < 3 && isdigit((unsigned char)item[at - 1]))
        at--;
    for (size_t i = at; i < n; i++)
        t = t * 10 + (item[i] - '0');
    if (at == n || at == 0 || tolower((unsigned char)item[at - 1]) != 'x' || t < 1 || t > MAX_TIMES)
        return NULL;
    *times = t;
    return profile_find(item, at - 1);
}

/// Letters to change, add or leave out (Levenshtein 1966).
static int letters_apart(const char *a, const char *b)
{
    int row[PLAIN_BYTES], n = (int)strlen(b);

    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 0; a[i] != '\0'; i++) {
        int left_above = row[0];
        row[0] = i + 1;
        for (int j = 0; j < n; j++) {
            int best = left_above + (a[i] != b[j]);
            left_above = row[j + 1];
            if (row[j + 1] + 1 < best)
                best = row[j + 1] + 1;
            if (row[j] + 1 < best)
                best = row[j] + 1;
            row[j + 1] = best;
        }
    }
    return row[n];
}

/// How a profile may have been meant: 0 the name goes on, 1 a letter is wrong, 2 not at all.
static int nearness(const char *want, const struct profile *p)
{
    char have[PLAIN_BYTES];
    size_t n = strlen(want);

    if (!plain_name(have, p->name, strlen(p->name)))
        return 2;
    if (n >= 2 && strncmp(have, want, n) == 0)
        return 0;
    return letters_apart(want, have) == 1 ? 1 : 2;
}

/// The profiles that may have been meant, or all of them where none is near.
static void add_names(char *out, size_t size, const char *item, size_t n)
{
    char want[PLAIN_BYTES];
    int best = 2;
    size_t at = 0;

    if (!plain_name(want, item, n))
        want[0] = '\0';
    for (int i = 0; i < profile_table_n; i++)
        if (nearness(want, &profile_table[i]) < best)
            best = nearness(want, &profile_table[i]);
    out[0] = '\0';
    for (int i = 0; i < profile_table_n; i++) {
        if (nearness(want, &profile_table[i]) > best)
            continue;
        int len = snprintf(out + at, size - at, "%s%s", at > 0 ? " " : "", profile_table[i].name);
        if (len < 0 || (size_t)len >= size - at)
            return;
        at += (size_t)len;
    }
}

// --- adding --------------------------------------------------------------------------------------

bool profile_add(struct dev_info *out, int *n, int max, const struct dev_info *info, struct err *e)
{
    if (*n == max)
        return err_set(e, ERR_ARG, "more than %d devices", max);
    out[(*n)++] = *info;
    return true;
}

static bool add_profile(struct dev_info *out, int *n, int max, const struct profile *p,
                        struct err *e)
{
    struct dev_info info = p->info;
    size_t len = strlen(p->name);
    int same = 0;

    for (int i = 0; i < *n; i++)
        same += strncmp(out[i].name, p->name, len) == 0 && strncmp(out[i].name + len, " #", 2) == 0;
    snprintf(info.name, sizeof(info.name), "%s #%d", p->name, same);
    return profile_add(out, n, max, &info, e);
}

// --- items ---------------------------------------------------------------------------------------

static bool is_file(const char *item, size_t n)
{
    return n > 5 && memcmp(item + n - 5, ".json", 5) == 0;
}

bool profile_devices(struct dev_info *out, int *n, int max, const char *item, size_t len,
                     struct err *e)
{
    char shown[64], names[640];
    int times;

    if (is_file(item, len)) {
        char *path = xasprintf("%.*s", (int)len, item);
        bool ok = profile_add_file(out, n, max, path, e);
        free(path);
        return ok;
    }
    const struct profile *p = find_times(item, len, &times);
    if (p == NULL) {
        add_names(names, sizeof(names), item, len);
        return err_set(e, ERR_ARG, "%s is no device; profiles: %s",
                       err_bytes(shown, sizeof(shown), item, len), names);
    }
    for (int i = 0; i < times; i++)
        if (!add_profile(out, n, max, p, e))
            return false;
    return true;
}
