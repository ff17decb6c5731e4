// zoo.c - see zoo.h. The schema of the lists is in tests/data/zoo/README.md.

#include "support/zoo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char dir[] = "tests/data/zoo";

static const char *str(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static void put_array(struct gguf_make *m, const char *key, const char *type, const json_t *v)
{
    enum { MOST = 300 }; // of a synthetic vocabulary: the head need not be long
    size_t n =
        json_is_array(v) ? json_array_size(v) : (size_t)json_integer_value(json_object_get(v, "n"));
    n = n < MOST ? n : MOST;
    if (strcmp(type, "arr:str") == 0) {
        const char *text[MOST];
        for (size_t i = 0; i < n; i++)
            text[i] = json_is_array(v) ? json_string_value(json_array_get(v, i)) : "x";
        gm_strs(m, key, n, text);
    } else {
        int32_t word[MOST];
        bool is_float = strcmp(type, "arr:f32") == 0;
        for (size_t i = 0; i < n; i++)
            word[i] = json_is_array(v) ? (int32_t)json_number_value(json_array_get(v, i)) : 0;
        gm_arr(m, key, is_float ? GGUF_F32 : GGUF_I32, n, word, n * 4);
    }
}

static void put_key(struct gguf_make *m, const json_t *row)
{
    const char *key = json_string_value(json_array_get(row, 0)),
               *type = json_string_value(json_array_get(row, 1));
    const json_t *v = json_array_get(row, 2);
    if (strncmp(type, "arr:", 4) == 0)
        put_array(m, key, type, v);
    else if (strcmp(type, "str") == 0)
        gm_str(m, key, json_is_string(v) ? json_string_value(v) : "filler");
    else if (strcmp(type, "bool") == 0)
        gm_bool(m, key, json_is_true(v));
    else if (strcmp(type, "f32") == 0)
        gm_f32(m, key, (float)json_number_value(v));
    else
        gm_i64(m, key, json_integer_value(v));
}

static void put_tensor(struct gguf_make *m, const char *name, const json_t *shape, const char *type,
                       uint64_t *offset)
{
    enum dtype t;
    uint64_t ne[4] = { 1, 1, 1, 1 };
    for (size_t i = 0; i < json_array_size(shape); i++)
        ne[i] = (uint64_t)json_integer_value(json_array_get(shape, i));
    assert_true(dtype_by_name(&t, type));
    gm_info(m, name, t, (uint32_t)json_array_size(shape), ne, *offset);
    *offset += align_up_u64(dtype_row_bytes(t, (int64_t)ne[0]) * ne[1] * ne[2] * ne[3], 32);
}

/// "0-8,11,14": each of these in the place of {i}.
static void put_layers(struct gguf_make *m, const json_t *t, const char *type, const char *layers,
                       uint64_t *offset)
{
    const char *name = str(t, "name"), *mark = strstr(name, "{i}");
    while (*layers) {
        char *end;
        long a = strtol(layers, &end, 10), b = *end == '-' ? strtol(end + 1, &end, 10) : a;
        for (long i = a; i <= b; i++) {
            char full[96];
            snprintf(full, sizeof full, "%.*s%ld%s", (int)(mark - name), name, i, mark + 3);
            put_tensor(m, full, json_object_get(t, "shape"), type, offset);
        }
        layers = *end == ',' ? end + 1 : end;
    }
}

uint64_t zoo_head(struct gguf_make *m, const json_t *doc)
{
    json_t *g = json_object_get(doc, "gguf"), *types;
    size_t i;
    json_t *row;
    const char *type;
    json_t *layers;
    uint64_t offset = 0;
    gm_init(m);
    json_array_foreach(json_object_get(g, "kv"), i, row) put_key(m, row);
    json_array_foreach(json_object_get(g, "tensors"), i, row)
    {
        if (!strstr(str(row, "name"), "{i}"))
            put_tensor(m, str(row, "name"), json_object_get(row, "shape"), str(row, "type"),
                       &offset);
        else if ((types = json_object_get(row, "types")) != NULL)
            json_object_foreach(types, type, layers)
                put_layers(m, row, type, json_string_value(layers), &offset);
        else
            put_layers(m, row, str(row, "type"), str(row, "layers"), &offset);
    }
    return offset;
}

void zoo_write(const char *list, const char *path)
{
    struct gguf_make m;
    json_error_t why;
    json_t *doc = json_load_file(list, 0, &why);

    if (!doc)
        fail_msg("%s: %s", list, why.text);
    uint64_t data_bytes = zoo_head(&m, doc);
    gm_write(&m, path);
    assert_int_equal(truncate(path, (off_t)(m.data_at + data_bytes)), 0);
    gm_done(&m);
    json_decref(doc);
}

static int is_list(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 5 && strcmp(d->d_name + n - 5, ".json") == 0;
}

char **zoo_paths(void)
{
    struct dirent **found = NULL;
    int n = scandir(dir, &found, is_list, alphasort);
    assert_true(n > 0);
    char **paths = xcalloc((size_t)n + 1, sizeof *paths);
    for (int i = 0; i < n; i++) {
        paths[i] = xasprintf("%s/%s", dir, found[i]->d_name);
        free(found[i]);
    }
    free(found);
    return paths;
}

void zoo_paths_free(char **paths)
{
    for (int i = 0; paths[i]; i++)
        free(paths[i]);
    free(paths);
}
