// probe_cache.c - measured speeds in a file, one entry for each processor, threads and build.

#include "plan/profile.h"
#include "run/probe.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PROBE_VERSION = 1, // other figures are meant, or measured in another way
    KEEP = 16,         // entries
    FILE_BYTES = 256 << 10,
};

// Of a machine of 2020 with two channels of memory.
#define ASSUMED_BYTES_PER_S 20e9
#define ASSUMED_OPS_PER_S   40e9 // of a thread
#define ASSUMED_LINK_PER_S  10e9
#define ASSUMED_STEP_NS     3000
#define ASSUMED_HOP_NS      20000

void probe_assume(struct dev_info *out, int threads)
{
    out->bytes_per_s = ASSUMED_BYTES_PER_S;
    out->ops_per_s = ASSUMED_OPS_PER_S * threads;
    out->link_bytes_per_s = ASSUMED_LINK_PER_S;
    out->step_ns = ASSUMED_STEP_NS;
    out->hop_ns = ASSUMED_HOP_NS;
    out->speed_assumed = true;
}

// --- the file ------------------------------------------------------------------------------------

char *probe_path(void)
{
    const char *dir = getenv("SNUG_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");

    if (dir != NULL && dir[0] != '\0')
        return xasprintf("%s/probe.json", dir);
    if (xdg != NULL && xdg[0] == '/')
        return xasprintf("%s/snug/probe.json", xdg);
    if (home != NULL && home[0] == '/')
        return xasprintf("%s/.cache/snug/probe.json", home);
    return NULL;
}

static char *fingerprint(const struct probe *p)
{
    return xasprintf("%s, %d cores, %d threads, %s, snug " SNUG_VERSION " probe %d", p->cpu,
                     p->cores, p->threads, p->features, PROBE_VERSION);
}

/// The file's list of entries, empty where there is no such file or it is not ours.
static json_t *read_entries(const char *path)
{
    char *text;
    size_t n;
    json_t *list = NULL;

    if (file_read(&text, &n, path, FILE_BYTES, NULL)) {
        json_t *all = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
        list = json_incref(json_object_get(all, "devices"));
        json_decref(all);
        free(text);
    }
    if (json_is_array(list))
        return list;
    json_decref(list);
    return json_array();
}

static int find_entry(const json_t *list, const char *print)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_object_get(json_array_get(list, i), "fingerprint"));
        if (s != NULL && strcmp(s, print) == 0)
            return (int)i;
    }
    return -1;
}

/// Directories above the file, as far as they are missing.
static void make_folders(char *path)
{
    for (char *p = strchr(path + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
        *p = '\0';
        (void)mkdir(path, 0777); // what matters is whether the file can be written
        *p = '/';
    }
}

/// Whole or not at all: others may read it at any time.
static bool write_file(const char *path, const char *text, struct err *e)
{
    char *part = xasprintf("%s.%d", path, (int)getpid()), shown[128];
    FILE *f = fopen(part, "we");
    bool ok = f != NULL && fputs(text, f) >= 0;

    ok = f != NULL && fclose(f) == 0 && ok && rename(part, path) == 0;
    if (!ok) {
        err_set(e, ERR_IO, "%s: %s", err_bytes(shown, sizeof(shown), path, strlen(path)),
                strerror(errno));
        unlink(part);
    }
    free(part);
    return ok;
}

// --- entries -------------------------------------------------------------------------------------

static json_t *speed_json(double x)
{
    return json_integer((json_int_t)llround(x));
}

json_t *probe_to_json(const struct probe *p)
{
    json_t *o = profile_to_json(&p->info);
    char *print = fingerprint(p);

    json_object_set_new(o, "cpu", json_string(p->cpu));
    json_object_set_new(o, "features", json_string(p->features));
    json_object_set_new(o, "cores", json_integer(p->cores));
    json_object_set_new(o, "copy_bytes_per_s", speed_json(p->copy_bytes_per_s));
    json_object_set_new(o, "q4_k_bytes_per_s", speed_json(p->q4_k_bytes_per_s));
    json_object_set_new(o, "q8_0_bytes_per_s", speed_json(p->q8_0_bytes_per_s));
    json_object_set_new(o, "cpu_share", json_real(round(p->cpu_share * 1e3) / 1e3));
    json_object_set_new(o, "fingerprint", json_string(print));
    free(print);
    return o;
}

void probe_describe(struct probe *p, struct dev *cpu)
{
    *p = (struct probe){ .threads = cpu_dev_threads(cpu), .cores = cpu_dev_cores() };
    cpu_dev_model(p->cpu, sizeof(p->cpu));
    snprintf(p->features, sizeof(p->features), "%s", cpu_dev_features(cpu));
}

static bool read_entry(struct probe *p, const json_t *o)
{
    struct dev_info info;

    if (!profile_from_json(&info, o, "", NULL) || !(info.bytes_per_s > 0) ||
        !(info.ops_per_s > 0) || info.step_ns <= 0)
        return false;
    p->info = info;
    p->copy_bytes_per_s = json_number_value(json_object_get(o, "copy_bytes_per_s"));
    p->q4_k_bytes_per_s = json_number_value(json_object_get(o, "q4_k_bytes_per_s"));
    p->cpu_share = json_number_value(json_object_get(o, "cpu_share"));
    p->q8_0_bytes_per_s = json_number_value(json_object_get(o, "q8_0_bytes_per_s"));
    return true;
}

bool probe_load(struct probe *out, struct dev *cpu)
{
    char *path = probe_path();

    probe_describe(out, cpu);
    if (path == NULL)
        return false;
    char *print = fingerprint(out);
    json_t *list = read_entries(path);
    int i = find_entry(list, print);
    bool ok = i >= 0 && read_entry(out, json_array_get(list, (size_t)i));
    json_decref(list);
    free(print);
    free(path);
    return ok;
}

bool probe_save(const struct probe *p, struct err *e)
{
    char *path = probe_path();

    if (path == NULL)
        return err_set(e, ERR_IO, "no place to keep it: neither HOME nor SNUG_CACHE_DIR is set");
    char *print = fingerprint(p);
    json_t *list = read_entries(path);
    int old = find_entry(list, print);
    if (old >= 0)
        json_array_remove(list, (size_t)old);
    while (json_array_size(list) >= KEEP)
        json_array_remove(list, 0);
    json_array_append_new(list, probe_to_json(p));
    json_t *all = json_object();
    json_object_set_new(all, "devices", list);
    char *text = json_dumps(all, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
    make_folders(path);
    bool ok = text != NULL && write_file(path, text, e);
    free(text);
    json_decref(all);
    free(print);
    free(path);
    return ok;
}
