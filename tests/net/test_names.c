// test_names.c - names of models, listings and manifests; nothing here uses a network.

#include "net/net_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void names_are_told_from_paths(void **state)
{
    static const struct {
        const char *name;
        enum net_kind kind;
        const char *parts; // host space model tag
    } t[] = {
        { "gemma3:12b", NET_REGISTRY, " library gemma3 12b" },
        { "gemma3", NET_REGISTRY, " library gemma3 latest" },
        { "me/mine:q4", NET_REGISTRY, " me mine q4" },
        { "localhost:5000/me/mine", NET_REGISTRY, "localhost:5000 me mine latest" },
        { "reg.example.org/me/m.1-x:a", NET_REGISTRY, "reg.example.org me m.1-x a" },
        { "https://ollama.com/library/gemma3:4b", NET_REGISTRY, " library gemma3 4b" },
        { "hf.co/u/r", NET_HF, " u r " },
        { "HF.co/u/r-GGUF:IQ3_M", NET_HF, " u r-GGUF IQ3_M" },
        { "huggingface.co/u.x/r:a.gguf", NET_HF, " u.x r a.gguf" },
        { "https://huggingface.co/u/r", NET_HF, " u r " },
        { "https://hf.co/u/r/resolve/main/m.gguf", NET_URL, "   " },
        { "http://huggingface.co/u/r", NET_URL, "   " },
        { "https://x/y.gguf", NET_URL, "   " },
        { "ftp://x/y", NET_URL, "   " },
        { "", NET_NONE, "   " },
        { "m.gguf", NET_NONE, "   " },
        { "dir/m.GGUF", NET_NONE, "   " },
        { "./gemma3", NET_NONE, "   " },
        { "/gemma3", NET_NONE, "   " },
        { "~/gemma3", NET_NONE, "   " },
        { "../gemma3", NET_NONE, "   " },
        { "models/llama/8b", NET_NONE, "   " },
        { "a/b/c/d/e", NET_NONE, "   " },
        { "a//b", NET_NONE, "   " },
        { "a b", NET_NONE, "   " },
        { "m:", NET_NONE, "   " },
        { "m:a:b", NET_NONE, "   " },
        { "m:../x", NET_NONE, "   " },
        { "-m", NET_NONE, "   " },
        { "m?x=1", NET_NONE, "   " },
        { "\xc3\xa4", NET_NONE, "   " },
        { "hf.co/u", NET_NONE, "   " },
        { "hf.co/u/r/s", NET_NONE, "   " },
        { "hf.co/u/../r", NET_NONE, "   " },
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct net_name n;
        char got[800];
        net_name_parse(&n, t[i].name);
        snprintf(got, sizeof(got), "%s %s %s %s", n.host, n.space, n.model, n.tag);
        if (n.kind != t[i].kind || strcmp(got, t[i].parts) != 0)
            fail_msg("%s: %d '%s'", t[i].name, (int)n.kind, got);
    }
    assert_int_equal(net_kind("hf.co/u"), NET_HF); // whose error says how names look
}

static void long_names_are_none(void **state)
{
    char name[1000];
    (void)state;

    for (size_t n = 1; n < sizeof(name) - 1; n++) {
        struct net_name out;
        memset(name, 'a', n);
        name[n] = 0;
        net_name_parse(&out, name);
        assert_int_equal(out.kind, n <= 80 ? NET_REGISTRY : NET_NONE);
    }
}

static const char *url(const struct net_model *m, int i)
{
    return m->file[i].url;
}

static void a_url_of_a_part_is_all_parts(void **state)
{
    struct net_model m;
    (void)state;

    net_model_of_url(&m, "https://h/a-00002-of-00003.gguf?x=-00001-of-00009.gguf");
    assert_int_equal(m.n_files, 3);
    assert_string_equal(url(&m, 0), "https://h/a-00001-of-00003.gguf?x=-00001-of-00009.gguf");
    assert_string_equal(url(&m, 2), "https://h/a-00003-of-00003.gguf?x=-00001-of-00009.gguf");
    net_model_done(&m);
    static const char *const one[] = { "https://h/a.gguf",
                                       "https://h/a-00004-of-00003.gguf",
                                       "https://h/a-00000-of-00003.gguf",
                                       "-00001-of-00002.gguf",
                                       "https://h/a--0001-of-00003.gguf",
                                       "https://h/a-00001-of-99999.gguf" };
    for (size_t i = 0; i < ARRAY_LEN(one); i++) {
        net_model_of_url(&m, one[i]);
        assert_int_equal(m.n_files, 1);
        assert_string_equal(url(&m, 0), one[i]);
        net_model_done(&m);
    }
}

static void a_quantization_is_a_word_of_the_name(void **state)
{
    static const char listing[] =
        "[{\"type\":\"file\",\"path\":\"m-IQ4_NL.gguf\",\"size\":1},"
        "{\"type\":\"file\",\"path\":\"m-UD-Q4_K_XL.gguf\",\"size\":2},"
        "{\"type\":\"file\",\"path\":\"m-Q4_K_XL.gguf\",\"size\":3},"
        "{\"type\":\"file\",\"path\":\"mmproj-m-F16.gguf\",\"size\":4},"
        "{\"type\":\"file\",\"path\":\"Q8_0/m-00001-of-00002.gguf\",\"size\":5},"
        "{\"type\":\"file\",\"path\":\"Q8_0/m-00002-of-00002.gguf\",\"size\":6},"
        "{\"type\":\"directory\",\"path\":\"m-Q4_0.gguf\"},"
        "{\"type\":\"file\",\"path\":\"../m-Q5_0.gguf\"},{\"path\":7},3,"
        "{\"type\":\"file\",\"path\":\"a b#%.Q6_K.gguf\",\"size\":-7}]";
    static const struct {
        const char *tag, *url;
        uint64_t bytes;
    } t[] = {
        { "q4_k_xl", "h/m-Q4_K_XL.gguf", 3 },
        { "UD-Q4_K_XL", "h/m-UD-Q4_K_XL.gguf", 2 },
        { "IQ4_NL", "h/m-IQ4_NL.gguf", 1 },
        { "Q6_K", "h/a%20b%23%25.Q6_K.gguf", 0 },
        { "m-iq4_nl.GGUF", "h/m-IQ4_NL.gguf", 1 },
        { "m-IQ4_NL", "h/m-IQ4_NL.gguf", 1 },
        { "Q8_0", "h/Q8_0/m-00001-of-00002.gguf", 5 },
    };
    static const char *const none[] = { "Q4_NL", "Q4_K", "F16", "Q4_0", "Q5_0", "" };
    struct net_model m;
    struct err e = { 0 };
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        if (!net_pick_listed(&m, listing, strlen(listing), t[i].tag, "h/", "who", &e))
            fail_msg("%s: %s", t[i].tag, e.msg);
        assert_string_equal(url(&m, 0), t[i].url);
        assert_int_equal(m.file[0].bytes, t[i].bytes);
        if (m.n_files == 2)
            assert_int_equal(m.file[1].bytes, 6);
        net_model_done(&m);
    }
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        assert_false(net_pick_listed(&m, listing, strlen(listing), none[i], "h/", "who", &e));
        assert_int_equal(e.code, ERR_NOTFOUND);
        assert_non_null(strstr(e.msg, "m-Q4_K_XL.gguf"));
    }
}

static void replies_that_make_no_sense_are_errors(void **state)
{
    static const char *const t[] = { "",
                                     "{",
                                     "[",
                                     "{}",
                                     "[]",
                                     "7",
                                     "[[[[]]]]",
                                     "{\"layers\":7}",
                                     "{\"layers\":[7,{},{\"mediaType\":3}]}" };
    struct net_model m;
    struct err e;
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        assert_false(net_pick_listed(&m, t[i], strlen(t[i]), "", "h/", "who", &e));
        assert_false(net_pick_layer(&m, t[i], strlen(t[i]), "h/", "who", &e));
        assert_int_equal(m.n_files, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_told_from_paths),
        cmocka_unit_test(long_names_are_none),
        cmocka_unit_test(a_url_of_a_part_is_all_parts),
        cmocka_unit_test(a_quantization_is_a_word_of_the_name),
        cmocka_unit_test(replies_that_make_no_sense_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
