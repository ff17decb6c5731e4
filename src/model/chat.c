// chat.c - how to talk to a model: told from the chat template in its file.

#include <string.h>

#include "gguf/gguf.h"
#include "model/model.h"

/// By the marks that the template writes. Many base models have the marks in their vocabulary too,
/// so a file without a template is not for chat.
enum chat_format model_chat_format(const struct gguf *g)
{
    struct str t;
    if (!gguf_get_str(g, "tokenizer.chat_template", &t))
        return CHAT_NONE;
    if (memmem(t.p, t.n, "<|im_start|>", strlen("<|im_start|>")))
        return CHAT_CHATML;
    if (memmem(t.p, t.n, "<start_of_turn>", strlen("<start_of_turn>")))
        return CHAT_GEMMA;
    return CHAT_NONE;
}
