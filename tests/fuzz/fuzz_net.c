// fuzz_net.c - replies of servers, and names: any bytes are a model's files or an error.
//
// libFuzzer: -runs=100000 -max_len=4096

#include "net/net_int.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct net_model m;
    struct net_name name;
    struct err e = { 0 };
    char *text = xmalloc(n + 1);

    memcpy(text, data, n);
    text[n] = 0;
    if (net_pick_listed(&m, text, n, "Q8_0", "https://h/", "who", &e))
        ASSERT(m.n_files > 0 && strncmp(m.file[0].url, "https://h/", 10) == 0);
    net_model_done(&m);
    if (net_pick_layer(&m, text, n, "https://h/", "who", &e))
        ASSERT(m.n_files == 1 && strlen(m.file[0].url) == 10 + 71);
    net_model_done(&m);
    net_name_parse(&name, text);
    if (name.kind != NET_URL && name.kind != NET_NONE)
        ASSERT(strpbrk(name.model, "/:?#%") == NULL && strpbrk(name.space, "/:?#%") == NULL);
    net_model_of_url(&m, text);
    net_model_done(&m);
    free(text);
    return 0;
}
