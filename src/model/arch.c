// arch.c - the architectures there are.

#include <string.h>

#include "model/model_int.h"

static const struct arch *const archs[] = {
    &arch_llama,
    &arch_gemma3,
};

const struct arch *arch_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(archs); i++)
        if (strcmp(archs[i]->name, name) == 0)
            return archs[i];
    return NULL;
}

const char *model_arch_name(int i)
{
    return i >= 0 && i < (int)ARRAY_LEN(archs) ? archs[i]->name : NULL;
}
