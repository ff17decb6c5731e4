// vocab.c - vocabularies that tokenize any text, English a little shorter: small ones, or with made
// words as large as a real one.

#include "mkmodel/mkmodel.h"

#include <stdlib.h>
#include <string.h>

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, UNUSED = 5, BYTE = 6 }; // tokenizer.ggml.token_type

const char chat_template_chatml[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}";

const char chat_template_gemma[] =
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + ('model' if "
    "message['role'] == 'assistant' else message['role']) + '\\n' + message['content'] | trim + "
    "'<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<start_of_turn>model\\n' }}{% endif %}";

const char chat_template_phi3[] =
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + "
    "message['content'] + '<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|assistant|>\\n' }}{% endif %}";

/// Merges in order of rank. Each part is a byte or the result of a merge above.
// clang-format off
static const char *const merges[][2] = {
    { " ", "t" }, { " ", "a" }, { "h", "e" }, { "i", "n" }, { "r", "e" }, { "o", "n" },
    { " t", "he" }, { "e", "r" }, { " ", "s" }, { "a", "t" }, { " ", "w" }, { " ", "o" },
    { "e", "n" }, { " ", "c" }, { "i", "t" }, { "i", "s" }, { "a", "n" }, { "o", "r" },
    { "e", "s" }, { " ", "b" }, { "e", "d" }, { " ", "f" }, { "in", "g" }, { " ", "p" },
    { "o", "u" }, { " a", "n" }, { "a", "l" }, { "a", "r" }, { " t", "o" }, { " ", "m" },
    { " o", "f" }, { " ", "in" }, { " ", "d" }, { " ", "h" }, { " an", "d" }, { "i", "c" },
    { "a", "s" }, { "l", "e" }, { " t", "h" }, { "i", "on" }, { "o", "m" }, { "l", "l" },
    { "en", "t" }, { " ", "n" }, { " ", "l" }, { "s", "t" }, { " ", "re" }, { "v", "e" },
    { " ", "e" }, { "r", "o" }, { "l", "y" }, { " b", "e" }, { " ", "g" }, { " ", "T" },
    { "c", "t" }, { " ", "S" }, { "i", "d" }, { "o", "t" }, { " ", "I" }, { "u", "t" },
    { "e", "t" }, { " ", "A" }, { " ", "is" }, { " ", "on" }, { "i", "m" }, { "a", "m" },
    { "o", "w" }, { "a", "y" }, { "a", "d" }, { "s", "e" }, { " th", "at" }, { " ", "C" },
    { "i", "g" }, { " f", "or" }, { "a", "c" }, { " ", "y" }, { "v", "er" }, { "u", "r" },
    { " ", "u" }, { "l", "d" }, { " s", "t" }, { " ", "M" }, { "'", "s" }, { " ", "he" },
    { " ", "it" }, { "at", "ion" }, { "it", "h" }, { "i", "r" }, { "c", "e" }, { " y", "ou" },
    { "i", "l" }, { " ", "B" }, { " w", "h" }, { "o", "l" }, { " ", "P" }, { " w", "ith" },
    { " w", "or" }, { " wor", "ld" }, { "H", "e" }, { "ll", "o" }, { "He", "llo" }, { "T", "he" },
    { "s", "o" }, { " n", "ot" }, { " ", " " }, { "  ", "  " }, { "\n", "\n" },
};
// clang-format on

static size_t put_utf8(char *out, unsigned c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xc0 | c >> 6); // below 0x800 here
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
}

/// The letter that stands for a byte in byte-level BPE: itself where it prints, else the next one
/// from U+0100 on (openai/gpt-2 src/encoder.py, bytes_to_unicode).
static unsigned byte_letter(uint8_t byte)
{
    unsigned next = 256;
    for (unsigned b = 0; b < 256; b++) {
        const bool prints = (b >= 33 && b <= 126) || (b >= 161 && b != 173);
        if (b == byte)
            return prints ? b : next;
        next += !prints;
    }
    return 0;
}

/// The piece as the vocabulary writes it.
static void piece_text(char out[64], enum tok_kind kind, const char *piece)
{
    size_t n = 0;
    for (; *piece; piece++) {
        if (kind == TOK_BPE) {
            n += put_utf8(out + n, byte_letter((uint8_t)*piece));
        } else if (*piece == ' ') {
            memcpy(out + n, "\xe2\x96\x81", 3); // U+2581
            n += 3;
        } else {
            out[n++] = *piece;
        }
    }
    out[n] = 0;
}

struct vocab {
    enum tok_kind kind;
    char (*text)[64];
    int32_t *type;
    float *score;
    int n, next;
};

static void put(struct vocab *v, int id, const char *text, int type, float score)
{
    ASSERT(id < v->n && strlen(text) < sizeof v->text[0]);
    memcpy(v->text[id], text, strlen(text) + 1);
    v->type[id] = type;
    v->score[id] = score;
}

static void add(struct vocab *v, const char *text, int type, float score)
{
    while (v->text[v->next][0] != 0)
        v->next++;
    put(v, v->next, text, type, score);
}

static void add_bytes(struct vocab *v)
{
    // In the order of their letters, as real files have them: first those that stand for
    // themselves.
    for (int pass = 0; pass < 2; pass++) {
        for (unsigned b = 0; b < 256; b++) {
            char text[64] = "";
            if (v->kind == TOK_SPM && pass == 0) {
                (void)snprintf(text, sizeof text, "<0x%02X>", b);
                add(v, text, BYTE, 0);
            } else if (v->kind == TOK_BPE && (byte_letter((uint8_t)b) >= 256) == (pass == 1)) {
                text[put_utf8(text, byte_letter((uint8_t)b))] = 0;
                add(v, text, NORMAL, 0);
            }
        }
    }
}

/// Results of merges; for SentencePiece with their rank as score, and the single letters after
/// them.
static void add_pieces(struct vocab *v)
{
    char whole[16], text[64];
    for (size_t i = 0; i < ARRAY_LEN(merges); i++) {
        (void)snprintf(whole, sizeof whole, "%s%s", merges[i][0], merges[i][1]);
        piece_text(text, v->kind, whole);
        add(v, text, NORMAL, -(float)i);
    }
    for (int c = 32; v->kind == TOK_SPM && c < 127; c++) {
        piece_text(text, v->kind, (char[]){ (char)c, 0 });
        add(v, text, NORMAL, -(float)ARRAY_LEN(merges) - (float)(c - 32));
    }
    if (v->kind == TOK_SPM)
        add(v, "\n", NORMAL, -(float)ARRAY_LEN(merges) - 100);
}

/// The two parts of a made word: two letters of this alphabet, " " and two, or " " and four. A part
/// is a letter or a word before it, and none of the pieces above.
static void made_word(int i, char left[8], char right[8])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    const int n = (int)sizeof letters - 1, pairs = n * n, k = i - 2 * pairs;

    ASSERT(k < pairs * pairs);
    if (i < pairs) {
        (void)snprintf(left, 8, "%c", letters[i / n]);
        (void)snprintf(right, 8, "%c", letters[i % n]);
    } else if (k < 0) {
        (void)snprintf(left, 8, " ");
        (void)snprintf(right, 8, "%c%c", letters[(i - pairs) / n], letters[i % n]);
    } else {
        (void)snprintf(left, 8, " %c%c", letters[k / pairs / n], letters[k / pairs % n]);
        (void)snprintf(right, 8, "%c%c", letters[k % pairs / n], letters[k % n]);
    }
}

/// What no id has yet: made words, or tokens that are not used.
static void add_rest(struct vocab *v, bool words)
{
    int n_made = 0;
    for (int i = 0; i < v->n; i++) {
        char left[8], right[8], whole[16], text[64];
        if (v->text[i][0] != 0)
            continue;
        if (words) {
            made_word(n_made++, left, right);
            (void)snprintf(whole, sizeof whole, "%s%s", left, right);
            piece_text(text, v->kind, whole);
        } else {
            (void)snprintf(text, sizeof text, "[unused%d]", i);
        }
        put(v, i, text, words ? NORMAL : UNUSED, -1000);
    }
}

/// The merges of the pieces, and those of made words up to `n`; the last of them may make no token.
static void write_merges(struct out *o, enum tok_kind kind, int n)
{
    const int natural = (int)ARRAY_LEN(merges);
    n = n > natural ? n : natural;
    out_arr(o, "tokenizer.ggml.merges", GGUF_STR, (uint64_t)n);
    for (int i = 0; i < n; i++) {
        char left[8], right[8], a[64], b[64], both[130];
        if (i >= natural)
            made_word(i - natural, left, right);
        piece_text(a, kind, i < natural ? merges[i][0] : left);
        piece_text(b, kind, i < natural ? merges[i][1] : right);
        (void)snprintf(both, sizeof both, "%s %s", a, b);
        out_raw_str(o, both);
    }
}

int vocab_write(struct out *o, enum tok_kind kind, int n, int n_merges,
                const struct special *special, int n_special)
{
    const int natural = n_special + 256 + (int)ARRAY_LEN(merges) + (kind == TOK_SPM ? 96 : 0);
    n = n > natural ? n : natural;
    struct vocab v = {
        .kind = kind,
        .text = xcalloc((size_t)n, sizeof *v.text),
        .type = xcalloc((size_t)n, sizeof *v.type),
        .score = xcalloc((size_t)n, sizeof *v.score),
        .n = n,
    };
    for (int i = 0; i < n_special; i++) {
        const int type = strcmp(special[i].text, "<unk>") == 0 ? UNKNOWN : CONTROL;
        if (special[i].id >= 0)
            put(&v, special[i].id, special[i].text, type, -1000);
    }
    for (int i = 0; i < n_special; i++)
        if (special[i].id < 0)
            add(&v, special[i].text, CONTROL, -1000);
    add_bytes(&v);
    add_pieces(&v);
    add_rest(&v, n_merges > 0);

    out_arr(o, "tokenizer.ggml.tokens", GGUF_STR, (uint64_t)n);
    for (int i = 0; i < n; i++)
        out_raw_str(o, v.text[i]);
    if (kind == TOK_SPM) {
        out_arr(o, "tokenizer.ggml.scores", GGUF_F32, (uint64_t)n);
        out_raw(o, v.score, (size_t)n * sizeof *v.score);
    }
    out_arr(o, "tokenizer.ggml.token_type", GGUF_I32, (uint64_t)n);
    out_raw(o, v.type, (size_t)n * sizeof *v.type);
    if (kind == TOK_BPE)
        write_merges(o, kind, n_merges);

    free(v.text);
    free(v.type);
    free(v.score);
    return n;
}
