// names.c - tokens known by their text.
//
// Files often do not say which tokens end a generation, and mark control tokens as normal or
// user-defined. So the texts that models use are listed here, as ggml-org/llama.cpp
// src/llama-vocab.cpp does; the vectors' info.eog says what must come out.

#include "tok/tok_int.h"

#include <string.h>

static const struct {
    const char *text;
    unsigned kind;
} names[] = {
    { "<|eot_id|>", NAME_EOG },
    { "<|eom_id|>", NAME_EOG },
    { "<|im_end|>", NAME_EOG },
    { "<|end|>", NAME_EOG | NAME_END },
    { "<|return|>", NAME_EOG | NAME_RETURN },
    { "<|call|>", NAME_EOG | NAME_CALL },
    { "<|calls|>", NAME_EOG | NAME_CALL },
    { "<|flush|>", NAME_EOG | NAME_FLUSH },
    { "<end_of_turn>", NAME_EOG },
    { "<|endoftext|>", NAME_EOG },
    { "<|end_of_text|>", NAME_EOG },
    { "</s>", NAME_EOG | NAME_S },
    { "<EOT>", NAME_EOG },
    { "_<EOT>", NAME_EOG },
    { "[EOT]", NAME_EOG },
    { "[EOS]", NAME_EOG },
    { "<eos>", NAME_EOG },
    { "<end_of_utterance>", NAME_EOG },
    { "<turn|>", NAME_EOG },
    { "<|tool_response>", NAME_EOG | NAME_NOT_S },
    { "<|plamo:eos|>", NAME_NOT_S },
    { "<\uff5cend\u2581of\u2581sentence\uff5c>", NAME_EOG },
    { "[e~[", NAME_EOG },

    { "<|fim_prefix|>", NAME_FIM },
    { "<fim-prefix>", NAME_FIM },
    { "<fim_prefix>", NAME_FIM },
    { "<\uff5cfim\u2581begin\uff5c>", NAME_FIM },
    { "<PRE>", NAME_FIM },
    { "\u2581<PRE>", NAME_FIM },
    { "<|code_prefix|>", NAME_FIM },
    { "<|prefix|>", NAME_FIM },
    { "<|fim_suffix|>", NAME_FIM },
    { "<fim-suffix>", NAME_FIM },
    { "<fim_suffix>", NAME_FIM },
    { "<\uff5cfim\u2581hole\uff5c>", NAME_FIM },
    { "<SUF>", NAME_FIM },
    { "\u2581<SUF>", NAME_FIM },
    { "<|code_suffix|>", NAME_FIM },
    { "<|suffix|>", NAME_FIM },
    { "<|fim_middle|>", NAME_FIM },
    { "<fim-middle>", NAME_FIM },
    { "<fim_middle>", NAME_FIM },
    { "<\uff5cfim\u2581end\uff5c>", NAME_FIM },
    { "<MID>", NAME_FIM },
    { "\u2581<MID>", NAME_FIM },
    { "<|code_middle|>", NAME_FIM },
    { "<|middle|>", NAME_FIM },
    { "<|fim_pad|>", NAME_FIM | NAME_FIM_PAD },
    { "<fim-pad>", NAME_FIM | NAME_FIM_PAD },
    { "<fim_pad>", NAME_FIM | NAME_FIM_PAD },
    { "<PAD>", NAME_FIM | NAME_FIM_PAD },
    { "[PAD]", NAME_FIM | NAME_FIM_PAD },
    { "<|fim_repo|>", NAME_FIM | NAME_FIM_REPO },
    { "<|repo_name|>", NAME_FIM | NAME_FIM_REPO },
    { "<fim-repo>", NAME_FIM | NAME_FIM_REPO },
    { "<REPO>", NAME_FIM | NAME_FIM_REPO },
    { "<reponame>", NAME_FIM | NAME_FIM_REPO },
    { "<|file_sep|>", NAME_FIM | NAME_FIM_FILE },

    { "<|channel|>", NAME_SHOWN },
    { "<|message|>", NAME_SHOWN },
    { "<|start|>", NAME_SHOWN },
    { "<|constrain|>", NAME_SHOWN },
};

unsigned name_kind(struct str text)
{
    // What all of them begin with; the look-up is done for every token of a file.
    if (text.n < 4 || text.n > 31 ||
        !(text.p[0] == '<' || text.p[0] == '[' || text.p[0] == '_' ||
          memcmp(text.p, "\u2581<", 4) == 0))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].text[1] == text.p[1] && str_is(text, names[i].text))
            return names[i].kind;
    return 0;
}
