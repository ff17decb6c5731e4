// profile_table.c - the devices that `--on NAME` knows, with where each figure is from.
//
// total   What cuMemGetInfo and llama.cpp's start-up line ("VRAM: 24123 MiB") show on Linux, not
//         the size on the box, and less than nvidia-smi says. SEEN: so reported in public logs, the
//         smallest where drivers differ. RULE: not found, or with old drivers only; the size on the
//         box (of cards with ECC in GDDR: 15/16 of it) less the most that was seen missing on a
//         card of that generation:
//             GDDR5 with ECC    135 MiB (P40); 80 on cards of up to 12 GB (K80)
//             Pascal, GeForce    94 MiB (1080)
//             Turing            455 MiB (2060 with 12 GB), with ECC 448 (T4)
//             Ampere            453 MiB (3090); A2 as T4, A40 as L40S
//             Ada               496 MiB (4090), with ECC 613 (L40S)
//             Blackwell         659 MiB (5090)
//             HBM               1.4 % (V100, 16 GB)
// driver  A context, without any library's: 8 MiB and 2.9 MiB a multiprocessor, the line through
//         107 MiB of a 4060 Ti (34) and 555 MiB of an RTX PRO 6000 (188) in ggml-org/llama.cpp
//         issue 23604. At least 102 MiB: a K80 die has 7 MiB in use when idle and 93 to 102 with a
//         context (dogkeeper886/ollama37, issue 73). H100: 500 MiB, H200 and B200 in proportion.
// GB/s    The maker's. Kernels reach the share beside it. From reports: K80 79 to 109 of 240 GB/s,
//         P40 60 to 63 %, 3090 75 %, 4090 84 to 90 %; others by generation.
// tera    10^12 operations a second (two for a multiply-add) of the widest unit that a prompt's
//         products use: int8 where there is any, or f16 (V100), or f32; the maker's, or cores x
//         clock. Kernels reach the share beside it: int8 20 % (reports: P40 27, 3090 20, 4090
//         24 %), f32 50 %.
// link    PCI express by generation and lanes, of which 80 % are assumed.
// step    One kernel more within a graph, assumed by generation. A copy from another device, hop:
//         25 us, assumed.
// granule 2 MiB: cuMemAlloc rounds to it on all cards where it was looked at; a K80 was not.

#include "plan/profile_int.h"

#define MIB(n)       ((uint64_t)(n) << 20)
#define CONTEXT(sms) ((8 + (29 * (sms) + 9) / 10) < 102 ? 102 : 8 + (29 * (sms) + 9) / 10)
#define HOP_NS       25000

#define SEEN FIGURE_MEASURED
#define RULE FIGURE_ASSUMED

// GB/s of a direction
#define PCIE3_16 15.75
#define PCIE4_8  15.75
#define PCIE4_16 31.5
#define PCIE5_8  31.5
#define PCIE5_16 63.0

// Of what the maker says: GB/s reached, tera reached, nanoseconds a kernel.
#define KEPLER    0.42, 0.5, 5000
#define MAXWELL   0.55, 0.5, 5000
#define PASCAL_F  0.55, 0.5, 4000 // P100: no int8
#define PASCAL    0.60, 0.2, 4000
#define VOLTA     0.65, 0.2, 3000
#define TURING    0.65, 0.2, 3000
#define AMPERE    0.75, 0.2, 2500
#define AMPERE_DC 0.65, 0.2, 2500
#define ADA       0.84, 0.2, 2500
#define ADA_DC    0.75, 0.2, 2500
#define HOPPER    0.60, 0.2, 2000
#define BLACKWELL 0.75, 0.2, 2000

#define GPU(...) GPU_(__VA_ARGS__)
#define GPU_(name_, title_, major, minor, total, total_from_, driver, driver_from_, gbs, tera,     \
             link, gbs_part, tera_part, step, why)                                                 \
    {                                                                                              \
        .name = name_, .title = title_, .cc_major = major, .cc_minor = minor,                      \
        .info = { .kind = DEV_KIND_CUDA,                                                           \
                  .capacity_bytes = MIB(total),                                                    \
                  .free_bytes = MIB(total),                                                        \
                  .granule_bytes = MIB(2),                                                         \
                  .max_threads = 1,                                                                \
                  .driver_bytes = MIB(driver),                                                     \
                  .speed_assumed = true,                                                           \
                  .bytes_per_s = (gbs) * (gbs_part)*1e9,                                           \
                  .ops_per_s = (tera) / 2.0 * (tera_part)*1e12,                                    \
                  .link_bytes_per_s = (link)*0.8 * 1e9,                                            \
                  .step_ns = step,                                                                 \
                  .hop_ns = HOP_NS },                                                              \
        .peak_bytes_per_s = (gbs)*1e9, .peak_ops_per_s = (tera) / 2.0 * 1e12,                      \
        .total_from = total_from_, .driver_from = driver_from_, .granule_from = FIGURE_ASSUMED,    \
        .bandwidth_from = FIGURE_PUBLISHED, .compute_from = FIGURE_PUBLISHED,                      \
        .link_from = FIGURE_PUBLISHED, .source = why,                                              \
    }

#define LOGS "total: start-up line of llama.cpp in public logs"

// clang-format off
const struct profile profile_table[] = {
    // name, title, cc, total MiB, driver MiB, GB/s, tera, link, generation, source
    GPU("k80",      "Tesla K80, one die", 3, 7, 11441, SEEN, 102, SEEN, 240, 2.8, PCIE3_16, KEPLER,
        "total, driver: nvidia-smi of every die in dogkeeper886/ollama37's reports; 79 to 109 GB/s: its k80-q4k-fp32-mmvq, PR 563; 2.8 TFLOP/s at 560 MHz"),
    GPU("k40",      "Tesla K40", 3, 5, 11440, RULE, 102, RULE, 288, 4.3, PCIE3_16, KEPLER,
        "NVIDIA's board specification; total: 15/16 less 80 MiB, as a K80 die"),
    GPU("m40-12",   "Tesla M40, 12 GB", 5, 2, 11440, RULE, 102, RULE, 288, 6.8, PCIE3_16, MAXWELL,
        "NVIDIA's board specification; total: 15/16 less 80 MiB, as a K80 die"),
    GPU("m40-24",   "Tesla M40, 24 GB", 5, 2, 22905, RULE, 102, RULE, 288, 6.8, PCIE3_16, MAXWELL,
        "NVIDIA's board specification; total: as P40, with as much memory of the same kind"),
    GPU("p4",       "Tesla P4", 6, 1, 7600, RULE, 102, RULE, 192, 22, PCIE3_16, PASCAL,
        "NVIDIA's data sheet; total: 15/16 less 80 MiB"),
    GPU("p40",      "Tesla P40", 6, 1, 22905, SEEN, 102, RULE, 346, 47, PCIE3_16, PASCAL,
        LOGS " (ggml-org/llama.cpp issue 22373); 60 to 63 % of the bandwidth, 27 % of int8: its PR 4766; rest NVIDIA's data sheet"),
    GPU("p100",     "Tesla P100, PCIe, 16 GB", 6, 0, 16230, SEEN, CONTEXT(56), RULE, 732, 9.3, PCIE3_16, PASCAL_F,
        "total: 15.9 GiB in public logs of Ollama, the least that is so rounded; rest NVIDIA's data sheet"),
    GPU("1060-6",   "GeForce GTX 1060, 6 GB", 6, 1, 6063, SEEN, 102, RULE, 192, 17.5, PCIE3_16, PASCAL,
        LOGS "; rest NVIDIA's specification, int8 4 x its 4.4 TFLOP/s"),
    GPU("1070",     "GeForce GTX 1070", 6, 1, 8098, RULE, 102, RULE, 256, 25.8, PCIE3_16, PASCAL,
        "NVIDIA's specification, int8 4 x its 6.5 TFLOP/s"),
    GPU("1080",     "GeForce GTX 1080", 6, 1, 8098, SEEN, 102, RULE, 320, 35.5, PCIE3_16, PASCAL,
        LOGS "; rest NVIDIA's specification, int8 4 x its 8.9 TFLOP/s"),
    GPU("1080ti",   "GeForce GTX 1080 Ti", 6, 1, 11170, RULE, 102, RULE, 484, 45.4, PCIE3_16, PASCAL,
        "total: PyTorch's messages say 10.92 GiB (Rubics-Xuan/TransBTS issue 45), 12 MiB more; rest NVIDIA's specification, int8 4 x its 11.3 TFLOP/s"),
    GPU("v100-16",  "Tesla V100, 16 GB", 7, 0, 16160, SEEN, CONTEXT(80), RULE, 900, 112, PCIE3_16, VOLTA,
        LOGS "; rest NVIDIA's data sheet (f16, PCIe)"),
    GPU("v100-32",  "Tesla V100, 32 GB", 7, 0, 32494, SEEN, CONTEXT(80), RULE, 900, 112, PCIE3_16, VOLTA,
        LOGS "; rest NVIDIA's data sheet (f16, PCIe)"),
    GPU("t4",       "T4", 7, 5, 14912, SEEN, CONTEXT(40), RULE, 300, 130, PCIE3_16, TURING,
        LOGS "; rest NVIDIA's data sheet"),
    GPU("2060",     "GeForce RTX 2060, 6 GB", 7, 5, 5689, RULE, CONTEXT(30), RULE, 336, 103, PCIE3_16, TURING,
        "NVIDIA's specification; older drivers show 5.79 GiB (facebookresearch/meshrcnn issue 92)"),
    GPU("2060s",    "GeForce RTX 2060 SUPER", 7, 5, 7737, RULE, CONTEXT(34), RULE, 448, 114.9, PCIE3_16, TURING,
        "NVIDIA's specification"),
    GPU("2070",     "GeForce RTX 2070", 7, 5, 7737, RULE, CONTEXT(36), RULE, 448, 119.4, PCIE3_16, TURING,
        "NVIDIA's Turing white paper"),
    GPU("2070s",    "GeForce RTX 2070 SUPER", 7, 5, 7737, RULE, CONTEXT(40), RULE, 448, 145, PCIE3_16, TURING,
        "NVIDIA's specification"),
    GPU("2080",     "GeForce RTX 2080", 7, 5, 7737, RULE, CONTEXT(46), RULE, 448, 161.1, PCIE3_16, TURING,
        "NVIDIA's Turing white paper"),
    GPU("2080s",    "GeForce RTX 2080 SUPER", 7, 5, 7737, RULE, CONTEXT(48), RULE, 496, 178.4, PCIE3_16, TURING,
        "NVIDIA's specification"),
    GPU("2080ti",   "GeForce RTX 2080 Ti", 7, 5, 10809, RULE, CONTEXT(68), RULE, 616, 215.2, PCIE3_16, TURING,
        "NVIDIA's Turing white paper; older drivers show 10.76 GiB (JDAI-CV/image-captioning issue 11)"),
    GPU("3050",     "GeForce RTX 3050, 8 GB", 8, 6, 7739, RULE, CONTEXT(20), RULE, 224, 73, PCIE4_8, AMPERE,
        "NVIDIA's specification, int8 8 x its 9.1 TFLOP/s"),
    GPU("3060",     "GeForce RTX 3060, 12 GB", 8, 6, 11906, SEEN, CONTEXT(28), RULE, 360, 102, PCIE4_16, AMPERE,
        LOGS "; rest NVIDIA's specification, int8 8 x its 12.7 TFLOP/s"),
    GPU("3060ti",   "GeForce RTX 3060 Ti", 8, 6, 7739, RULE, CONTEXT(38), RULE, 448, 130, PCIE4_16, AMPERE,
        "NVIDIA's specification, int8 8 x its 16.2 TFLOP/s"),
    GPU("3070",     "GeForce RTX 3070", 8, 6, 7819, SEEN, CONTEXT(46), RULE, 448, 162.6, PCIE4_16, AMPERE,
        LOGS "; rest NVIDIA's Ampere GA102 white paper"),
    GPU("3070ti",   "GeForce RTX 3070 Ti", 8, 6, 7739, RULE, CONTEXT(48), RULE, 608, 174, PCIE4_16, AMPERE,
        "NVIDIA's specification, int8 8 x its 21.7 TFLOP/s"),
    GPU("3080",     "GeForce RTX 3080, 10 GB", 8, 6, 9787, RULE, CONTEXT(68), RULE, 760, 238, PCIE4_16, AMPERE,
        "NVIDIA's Ampere GA102 white paper; older drivers show 9.78 GiB (zai-org/CogVideo issue 34)"),
    GPU("3080-12",  "GeForce RTX 3080, 12 GB", 8, 6, 11835, RULE, CONTEXT(70), RULE, 912, 245, PCIE4_16, AMPERE,
        "NVIDIA's specification, int8 8 x its 30.6 TFLOP/s"),
    GPU("3080ti",   "GeForce RTX 3080 Ti", 8, 6, 11835, RULE, CONTEXT(80), RULE, 912, 273, PCIE4_16, AMPERE,
        "NVIDIA's specification, int8 8 x its 34.1 TFLOP/s"),
    GPU("3090",     "GeForce RTX 3090", 8, 6, 24123, SEEN, CONTEXT(82), RULE, 936, 284.6, PCIE4_16, AMPERE,
        LOGS "; 75 % of the bandwidth: ggml-org/llama.cpp PR 15802; 20 % of int8: its PR 7860; rest NVIDIA's Ampere GA102 white paper"),
    GPU("3090ti",   "GeForce RTX 3090 Ti", 8, 6, 24142, SEEN, CONTEXT(84), RULE, 1008, 320, PCIE4_16, AMPERE,
        LOGS "; rest NVIDIA's specification, int8 8 x its 40 TFLOP/s"),
    GPU("4060",     "GeForce RTX 4060", 8, 9, 7696, RULE, CONTEXT(24), RULE, 272, 121, PCIE4_8, ADA,
        "NVIDIA's specification, int8 8 x its 15.1 TFLOP/s"),
    GPU("4060ti-8", "GeForce RTX 4060 Ti, 8 GB", 8, 9, 7696, RULE, 107, SEEN, 288, 176.5, PCIE4_8, ADA,
        "driver: ggml-org/llama.cpp issue 23604; rest NVIDIA's specification, int8 8 x its 22.1 TFLOP/s"),
    GPU("4060ti-16", "GeForce RTX 4060 Ti, 16 GB", 8, 9, 15944, SEEN, 107, SEEN, 288, 176.5, PCIE4_8, ADA,
        LOGS "; driver: ggml-org/llama.cpp issue 23604; rest NVIDIA's specification, int8 8 x its 22.1 TFLOP/s"),
    GPU("4070",     "GeForce RTX 4070", 8, 9, 11866, SEEN, CONTEXT(46), RULE, 504, 233, PCIE4_16, ADA,
        LOGS "; rest NVIDIA's specification, int8 8 x its 29.1 TFLOP/s"),
    GPU("4070s",    "GeForce RTX 4070 SUPER", 8, 9, 11792, RULE, CONTEXT(56), RULE, 504, 284, PCIE4_16, ADA,
        "NVIDIA's specification, int8 8 x its 35.5 TFLOP/s"),
    GPU("4070ti",   "GeForce RTX 4070 Ti", 8, 9, 11792, RULE, CONTEXT(60), RULE, 504, 320.7, PCIE4_16, ADA,
        "NVIDIA's specification, int8 8 x its 40.1 TFLOP/s"),
    GPU("4070tis",  "GeForce RTX 4070 Ti SUPER", 8, 9, 15888, RULE, CONTEXT(66), RULE, 672, 353, PCIE4_16, ADA,
        "NVIDIA's specification, int8 8 x its 44.1 TFLOP/s"),
    GPU("4080",     "GeForce RTX 4080", 8, 9, 15888, RULE, CONTEXT(76), RULE, 717, 389.9, PCIE4_16, ADA,
        "NVIDIA's Ada white paper"),
    GPU("4080s",    "GeForce RTX 4080 SUPER", 8, 9, 15888, RULE, CONTEXT(80), RULE, 736, 418, PCIE4_16, ADA,
        "NVIDIA's specification, int8 8 x its 52.2 TFLOP/s"),
    GPU("4090",     "GeForce RTX 4090", 8, 9, 24080, SEEN, CONTEXT(128), RULE, 1008, 660.6, PCIE4_16, ADA,
        LOGS " (24080 and 24210); 84 to 90 % of the bandwidth: calm's README; 24 % of int8: ggml-org/llama.cpp PR 7676; rest NVIDIA's Ada white paper"),
    GPU("5060",     "GeForce RTX 5060", 12, 0, 7533, RULE, CONTEXT(30), RULE, 448, 153.6, PCIE5_8, BLACKWELL,
        "NVIDIA's specification, int8 8 x its 19.2 TFLOP/s"),
    GPU("5060ti-8", "GeForce RTX 5060 Ti, 8 GB", 12, 0, 7533, RULE, CONTEXT(36), RULE, 448, 189.6, PCIE5_8, BLACKWELL,
        "NVIDIA's specification, int8 8 x its 23.7 TFLOP/s"),
    GPU("5060ti-16", "GeForce RTX 5060 Ti, 16 GB", 12, 0, 15841, SEEN, CONTEXT(36), RULE, 448, 189.6, PCIE5_8, BLACKWELL,
        LOGS "; rest NVIDIA's specification, int8 8 x its 23.7 TFLOP/s"),
    GPU("5070",     "GeForce RTX 5070", 12, 0, 11629, RULE, CONTEXT(48), RULE, 672, 247, PCIE5_16, BLACKWELL,
        "NVIDIA's specification, int8 8 x its 30.9 TFLOP/s"),
    GPU("5070ti",   "GeForce RTX 5070 Ti", 12, 0, 15842, SEEN, CONTEXT(70), RULE, 896, 351.5, PCIE5_16, BLACKWELL,
        LOGS "; rest NVIDIA's Blackwell white paper"),
    GPU("5080",     "GeForce RTX 5080", 12, 0, 15880, SEEN, CONTEXT(84), RULE, 960, 450, PCIE5_16, BLACKWELL,
        LOGS "; rest NVIDIA's Blackwell white paper"),
    GPU("5090",     "GeForce RTX 5090", 12, 0, 32109, SEEN, CONTEXT(170), RULE, 1792, 838, PCIE5_16, BLACKWELL,
        LOGS "; rest NVIDIA's Blackwell white paper"),
    GPU("a2",       "A2", 8, 6, 14912, RULE, 102, RULE, 200, 36, PCIE4_8, AMPERE_DC,
        "NVIDIA's data sheet; total: as T4, with as much memory of the same kind"),
    GPU("a10",      "A10", 8, 6, 22731, SEEN, CONTEXT(72), RULE, 600, 250, PCIE4_16, AMPERE_DC,
        LOGS "; rest NVIDIA's data sheet"),
    GPU("a40",      "A40", 8, 6, 45467, RULE, CONTEXT(84), RULE, 696, 299.3, PCIE4_16, AMPERE_DC,
        "NVIDIA's data sheet; total: as L40S, with as much memory of the same kind"),
    GPU("l4",       "L4", 8, 9, 22427, RULE, CONTEXT(58), RULE, 300, 242, PCIE4_16, ADA_DC,
        "NVIDIA's data sheet; 22.03 GiB in ArcInstitute/evo2 issue 190"),
    GPU("l40s",     "L40S", 8, 9, 45467, SEEN, CONTEXT(142), RULE, 864, 733, PCIE4_16, ADA_DC,
        LOGS "; rest NVIDIA's data sheet"),
    GPU("a100-40",  "A100, 40 GB", 8, 0, 40386, RULE, CONTEXT(108), RULE, 1555, 624, PCIE4_16, AMPERE_DC,
        "NVIDIA's data sheet; 39.50 GiB in TianheWu/CoSeR issue 10"),
    GPU("a100-80",  "A100, 80 GB", 8, 0, 81151, SEEN, CONTEXT(108), RULE, 2039, 624, PCIE4_16, AMPERE_DC,
        LOGS "; rest NVIDIA's data sheet (SXM)"),
    GPU("h100",     "H100, SXM, 80 GB", 9, 0, 81081, SEEN, 500, RULE, 3350, 1979, PCIE5_16, HOPPER,
        LOGS "; 60 % of the bandwidth is what our kernels are to reach; rest NVIDIA's data sheet"),
    GPU("h200",     "H200, SXM, 141 GB", 9, 0, 142362, RULE, 500, RULE, 4800, 1979, PCIE5_16, HOPPER,
        "NVIDIA's data sheet"),
    GPU("b200",     "B200, SXM, 180 GB", 10, 0, 181739, RULE, 561, RULE, 8000, 4500, PCIE5_16, HOPPER,
        "NVIDIA's data sheet"),
};
// clang-format on
const int profile_table_n = ARRAY_LEN(profile_table);
