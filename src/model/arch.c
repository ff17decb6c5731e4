// arch.c - the architectures there are.

#include <string.h>

#include "model/model_int.h"

const char *const no_tensors[] = { NULL };

// clang-format off
static const struct arch *const archs[] = {
    &arch_llama,
    &arch_mistral,
    &arch_mistral3,
    &arch_gemma2,
    &arch_gemma3,
    &arch_qwen2,
    &arch_qwen3,
    &arch_qwen3moe,
    &arch_olmo2,
    &arch_granite,
    &arch_phi3,
    &arch_command_r,
    &arch_cohere2,
    &arch_gpt_oss,
    &arch_gptoss,
    &arch_deepseek2,
};
// clang-format on

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
