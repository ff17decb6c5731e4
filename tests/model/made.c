// made.c - see made.h.

#include "model/made.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gguf/gguf.h"
#include "run/vectors.h"
#include "support/gguf_make.h"

static char *dir, *path; // of this process

static void remove_dir(void)
{
    gm_dir_remove(dir);
    free(dir);
    free(path);
}

static char *tool(void)
{
    const char *tools = getenv("SNUG_TOOLS");
    return xasprintf("%s/mkmodel", tools ? tools : "build/tools");
}

bool can_make(const char *test)
{
    char *program = tool();
    bool is = have_file(test, program);
    free(program);
    return is;
}

const char *make_model(const char *fmt, ...)
{
    char args[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(args, sizeof args, fmt, ap);
    va_end(ap);
    if (!dir) {
        dir = gm_dir();
        path = xasprintf("%s/m.gguf", dir);
        atexit(remove_dir);
    }
    char *program = tool();
    char *command = xasprintf("%s %s --tok none --vocab %d %s", program, args, MADE_VOCAB, path);
    if (system(command) != 0)
        fail_msg("%s", command);
    free(command);
    free(program);
    return path;
}

void made_open(struct made *m, const char *file)
{
    struct err e = { 0 };
    *m = (struct made){ 0 };
    if (!gguf_open(&m->gguf, file, NULL, &e) || !model_read(&m->model, m->gguf, &e) ||
        !model_graph(&m->graph, m->model, m->gguf, &e))
        fail_msg("%s: %s", file, e.msg);
}

void made_close(struct made *m)
{
    graph_free(m->graph);
    model_free(m->model);
    gguf_close(m->gguf);
}
