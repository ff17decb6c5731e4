// rig.h - loads of one file on simulated devices, each compared with its plan to the byte.

#ifndef SNUG_TEST_RIG_H
#define SNUG_TEST_RIG_H

#include "run/run.h"

/// A model file up to its graph, and threads for simulated devices. Opens or fails the test.
struct rig {
    struct gguf *gguf;
    struct model *model;
    struct graph *graph;
    struct weight_place *places;
    struct dev *cpu;
};
void rig_open(struct rig *r, const char *path);
void rig_close(struct rig *r);

/// Contexts 512, 2048, 8192 and 32768 on one to four devices: what was planned, what the instance
/// says and what each device counted are equal, and all of it is given back.
void compare_all_loads(const char *path);

#endif
