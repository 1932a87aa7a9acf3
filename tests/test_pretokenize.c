/* § 17: what each cutting rule makes of seven texts, as tests/test_peer_tokenizers.sh found
   it equal to llama.cpp; and that names, rules and the public functions agree. */
#include "prodml.h"
#include "test.h"

enum { TEXTS = 7 };

/* The name of a rule and the words of each text, with | between them. */
/* clang-format off */
static const struct {
  const char *name, *words[TEXTS];
} pinned[] = {
    {"gpt-2",
     {"I|'m| 42|,| DON|'|T| they|'|LL",
      " | x| =| 1234567|;|\r\n\n|\t|foo|_|bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| ह|ि|न|्|द|ी",
      "a|  | b|\t\t| c|  \n | d|   ",
      "~~| --| ...| $|3|.|14| →| 😀👍🏽| ١٢٣٤٥",
      "https|://|a|.|b|/|c|?|d|=|1|_|000| .|end| 。|終| I|'d"}},
    {"qwen2",
     {"I|'m| |4|2|,| DON|'T| they|'LL",
      " | x| =| |1|2|3|4|5|6|7|;\r\n\n|\tfoo|_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| ह|िन|्द|ी",
      "a|  | b|\t\t| c|  \n| | d|   ",
      "~~| --| ...| $|3|.|1|4| →| 😀👍🏽| |١|٢|٣|٤|٥",
      "https|://|a|.b|/c|?d|=|1|_|0|0|0| .|end| 。|終| I|'d"}},
    {"llama-bpe",
     {"I|'m| |42|,| DON|'T| they|'LL",
      " | x| =| |123|456|7|;\r\n\n|\tfoo|_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| ह|िन|्द|ी",
      "a|  | b|\t\t| c|  \n| | d|   ",
      "~~| --| ...| $|3|.|14| →| 😀👍🏽| |١٢٣|٤٥",
      "https|://|a|.b|/c|?d|=|1|_|000| .|end| 。|終| I|'d"}},
    {"starcoder",
     {"I|'m| |4|2|,| DON|'|T| they|'|LL",
      " | x| =| |1|2|3|4|5|6|7|;|\r\n\n|\t|foo|_|bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| ह|ि|न|्|द|ी",
      "a|  | b|\t\t| c|  \n | d|   ",
      "~~| --| ...| $|3|.|1|4| →| 😀👍🏽| |١|٢|٣|٤|٥",
      "https|://|a|.|b|/|c|?|d|=|1|_|0|0|0| .|end| 。|終| I|'d"}},
    {"falcon",
     {"I|'|m| 42|,| DON|'|T| they|'|LL",
      " | x| |=| |123|456|7|;|\r\n\n|\t|foo|_|bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| ह|ि|न|्|द|ी",
      "a|  | b|\t\t| c|  \n | d|   ",
      "~~| |--| |...| |$|3|.|14| →| 😀👍🏽| ١٢٣٤٥",
      "https|://|a|.|b|/|c|?|d|=|1|_|000| |.|end| |。|終| I|'|d"}},
    {"default",
     {"I|'|m| |42|,| DON|'|T| they|'|LL",
      " | x| |=| |123|456|7|;|\r\n\n|\t|foo|_|bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| ह|ि|न|्|द|ी",
      "a|  | b|\t\t| c|  \n | d|   ",
      "~~| |--| |...| |$|3|.|14| →| 😀👍🏽| |١٢٣٤٥",
      "https|://|a|.|b|/|c|?|d|=|1|_|000| |.|end| |。|終| I|'|d"}},
    {"deepseek-llm",
     {"I|'|m| |42|,| DON|'|T| they|'|LL",
      " | x| =| |1234567|;|\r|\n|\n|\tfoo|_|bar|(|1|)",
      "Gr|üß|e| É|COLE| caf|é|Bar| HTTPServer",
      "你好世界| |漢字かな| |한국어| |ภาษาไทย| |हिन्दी",
      "a|  | b|\t\t| c|  |\n| | d|   ",
      "~~| --| ...| $|3|.|14| |→| 😀👍🏽 |١٢٣٤٥",
      "https|://|a|.|b|/|c|?|d|=|1|_|000| .|end| |。|終| I|'|d"}},
    {"deepseek-coder",
     {"I|'|m| |4|2|,| DON|'|T| they|'|LL",
      " | x| = |1|2|3|4|5|6|7|;|\r|\n|\n|\tfoo|_|bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| |漢字かな| |한국어| |ภาษาไทย| |ह|ि|न|्|द|ी",
      "a|  | b|\t\t| c|  |\n| | d|   ",
      "~~| --| ...| $|3|.|1|4| |→| 😀👍🏽 |١|٢|٣|٤|٥",
      "https|://|a|.|b|/|c|?|d|=|1|_|0|0|0| .|end| |。|終| I|'|d"}},
    {"deepseek-v3",
     {"I|'m| |42|,| DON|'T| they|'LL",
      " | x| =| |123|456|7|;\r\n\n|\tfoo|_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| |漢字かな| 한국어| ภาษาไทย| हिन्दी",
      "a|  | b|\t\t| c|  \n| | d|   ",
      "~~| --| ...| $|3|.|14| →| 😀👍🏽| |١٢٣|٤٥",
      "https|://|a|.b|/c|?d|=|1|_|000| .|end| 。|終| I|'d"}},
    {"bloom",
     {"I'm| 42|,| DON'T| they'LL",
      " | x| =| 1234567;|\r\n\n\t|foo_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| हिन्दी",
      "a|  | b|\t\t| c|  \n | d|   ",
      "~~| --| ...| $3|.|14| →| 😀👍🏽| ١٢٣٤٥",
      "https://a|.|b/c|?|d=1_000| .|end| 。|終| I'd"}},
    {"viking",
     {"I'm| |4|2|,| DON'T| they'LL",
      " | x| =| |1|2|3|4|5|6|7|;|\r\n\n\t|foo_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| हिन्दी",
      "a|  | b|\t\t| c|  \n | d|   ",
      "~~| --| ...| $|3|.|1|4| →| 😀👍🏽| |١|٢|٣|٤|٥",
      "https://a|.|b/c|?|d=|1|_|0|0|0| .|end| 。|終| I'd"}},
    {"tekken",
     {"I|'m| |4|2|,| DON|'T| they|'LL",
      " | x| =| |1|2|3|4|5|6|7|;\r\n\n|\tfoo|_bar|(|1|)",
      "Grüße| É|COLE| café|Bar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| ह|िन|्द|ी",
      "a|  | b|\t\t| c|  \n| | d|   ",
      "~~| --| ...| $|3|.|1|4| →| 😀👍🏽| |١|٢|٣|٤|٥",
      "https|://|a|.b|/c|?d|=|1|_|0|0|0| .|end| 。|終| I|'d"}},
    {"gpt-4o",
     {"I'm| |42|,| DON'T| they'LL",
      " | x| =| |123|456|7|;\r\n\n|\tfoo|_bar|(|1|)",
      "Grüße| É|COLE| café|Bar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| ह|िन|्द|ी",
      "a|  | b|\t\t| c|  \n| | d|   ",
      "~~| --| ...| $|3|.|14| →| 😀👍🏽| |١٢٣|٤٥",
      "https|://|a|.b|/c|?d|=|1|_|000| .|end| 。|終| I'd"}},
    {"qwen35",
     {"I|'m| |4|2|,| DON|'T| they|'LL",
      " | x| =| |1|2|3|4|5|6|7|;\r\n\n|\tfoo|_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| हिन्दी",
      "a|  | b|\t\t| c|  \n| | d|   ",
      "~~| --| ...| $|3|.|1|4| →| 😀👍🏽| |١|٢|٣|٤|٥",
      "https|://|a|.b|/c|?d|=|1|_|0|0|0| .|end| 。|終| I|'d"}},
    {"chameleon",
     {"I|'|m| |4|2|,| DON|'|T| they|'|LL",
      "  |x| |=| |1|2|3|4|5|6|7|;|\r|\n|\n|\t|foo|_|bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| ह|ि|न|्|द|ी",
      "a|  | b|\t|\t| c|  |\n|  |d|  | ",
      "~|~| |-|-| |.|.|.| |$|3|.|1|4| →| 😀👍🏽| |١|٢|٣|٤|٥",
      "https|:|/|/|a|.|b|/|c|?|d|=|1|_|0|0|0| |.|end| |。|終| I|'|d"}},
    {"kimi-k2",
     {"I'm| |42|,| DON'T| they'LL",
      " | x| =| |123|456|7|;\r\n\n|\tfoo|_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| |漢字|かな| 한국어| ภาษาไทย| ह|िन|्द|ी",
      "a|  | b|\t\t| c|  \n| | d|   ",
      "~~| --| ...| $|3|.|14| →| 😀👍🏽| |١٢٣|٤٥",
      "https|://|a|.b|/c|?d|=|1|_|000| .|end| 。|終| I'd"}},
    {"superbpe",
     {"I'm |42|, DON'T they'LL",
      "  x = |1|234|567|;\r\n\n\tfoo_bar(|1|)",
      "Grüße ÉCOLE caféBar HTTPServer",
      "你好世界 漢字かな 한국어 ภาษาไทย हिन्दी",
      "a   b\t\t c  \n  d   ",
      "~~ -- ... $|3|.|14| → 😀👍🏽 |١٢٣٤٥",
      "https://a.b/c?d=|1|_|000| .end 。終 I'd"}},
    {"seed-coder",
     {"I|'m| |4|2|,| DON|'T| they|'LL",
      " | x| =| |1|2|3|4|5|6|7|;|\r\n\n|\tfoo|_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| ह|िन|्द|ी",
      "a|  | b|\t\t| c|  \n| | d|   ",
      "~~| --| ...| $|3|.|1|4| →| 😀👍🏽| |١|٢|٣|٤|٥",
      "https|://|a|.b|/c|?d|=|1|_|0|0|0| .|end| 。|終| I|'d"}},
    {"exaone-moe",
     {"I|'m| |4|2|,| DON|'T| they|'LL",
      " | x| =| |1|2|3|4|5|6|7|;\r|\n\n|\tfoo|_bar|(|1|)",
      "Grüße ÉCOLE caféBar HTTPServer",
      "你好世界 漢字かな 한국어 ภาษาไทย हिन्दी",
      "a|  | b|\t\t| c|  \n| | d|   ",
      "~~| --| ...| $|3|.|1|4| →| 😀👍🏽| |١|٢|٣|٤|٥",
      "https|://|a|.b|/c|?d|=|1|_|0|0|0| .|end| 。|終 I|'d"}},
    {"minicpm5",
     {"I|'m| |42|,| DON|'T| they|'LL",
      " | x| =| |123|456|7|;\r\n\n|\tfoo|_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| ह|िन|्द|ी",
      "a|  | b|\t\t| c|  \n| | d|   ",
      "~~| --| ...| $|3|.|14| →| 😀👍🏽| |١٢٣|٤٥",
      "https|://|a|.b|/c|?d|=|1|_|000| .|end| 。|終| I|'d"}},
    {"laguna",
     {"I|'m| |4|2|,| DON|'T| they|'LL",
      " | x| =| |1|2|3|4|5|6|7|;\r|\n\n|\tfoo|_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| ह|िन|्द|ी",
      "a|  | b|\t\t| c|  |\n| | d|   ",
      "~~| --| ...| $|3|.|1|4| →| 😀👍🏽| |١|٢|٣|٤|٥",
      "https|://|a|.b|/c|?d|=|1|_|0|0|0| .|end| 。|終| I|'d"}},
    {"youtu",
     {"I'm| |4|2|,| DON'T| they'LL",
      " | x| =| |1|2|3|4|5|6|7|;\r\n\n|\tfoo|_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| |漢字かな| |한국어| ภาษาไทย| हिन्दी",
      "a|  | b|\t\t| c|  \n| | d|   ",
      "~~| --| ...| $|3|.|1|4| →| 😀👍🏽| |١|٢|٣|٤|٥",
      "https|://|a|.b|/c|?d|=|1|_|0|0|0| .|end| |。|終| I'd"}},
    {"tiny_aya",
     {"I'm| |42|,| DON'T| they'LL",
      " | x| =| |1|234|567|;\r\n\n|\tfoo|_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| हिन्दी",
      "a|  | b|\t\t| c|  \n| | d|   ",
      "~~| --| ...| $|3|.|14| →| 😀👍🏽| |١٢|٣٤٥",
      "https|://|a|.b|/c|?d|=|1|_|000| .|end| 。|終| I'd"}},
    {"granite-embed-multi-97m",
     {"I'm| |42|,| DON'T| they'LL",
      " | x| =| |123|456|7|;\r\n\n|\tfoo|_bar|(|1|)",
      "Grüße| É|COLE| café|Bar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| हिन्दी",
      "a|  | b|\t\t| c|  \n| | d|   ",
      "~~| --| ...| $|3|.|14| →| 😀👍🏽| |١٢٣|٤٥",
      "https|://|a|.b|/c|?d|=|1|_|000| .|end| 。|終| I'd"}},
    {"jais-2",
     {"I|'m| |42|,| DON|'T| they|'LL",
      " | x| =| |123|456|7|;\r\n\n|\tfoo|_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| ह|िन|्द|ी",
      "a|  | b|\t\t| c|  \n| | d|  | ",
      "~~| --| ...| $|3|.|14| →| 😀👍🏽| |١٢٣|٤٥",
      "https|://|a|.b|/c|?d|=|1|_|000| .|end| 。|終| I|'d"}},
    {"spark2_5",
     {"I|'m| |4|2|,| DON|'T| they|'LL",
      " | x| =| |1|2|3|4|5|6|7|;|\r|\n|\n|\tfoo|_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| |漢字かな| 한국어| ภาษาไทย| हिन्दी",
      "a|  | b|\t\t| c|  \n | d|   ",
      "~~| --| ...| $|3|.|1|4| →| 😀👍🏽| |١|٢|٣|٤|٥",
      "https|://|a|.b|/c|?d|=|1|_|0|0|0| .|end| 。|終| I|'d"}},
    {"afmoe",
     {"I|'m| |42|,| DON|'T| they|'LL",
      " | x| =| |1|234|567|;\r\n\n|\tfoo|_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| |漢字かな| |한국어| ภาษา|ไ|ทย| हिन्दी",
      "a|  | b|\t\t| c|  \n| | d|   ",
      "~~| --| ...| $|3|.|14| →| 😀👍🏽| |١٢|٣٤٥",
      "https|://|a|.b|/c|?d|=|1|_|000| .|end| 。|終| I|'d"}},
    {"ufakzeka",
     {"I|'m| |4|2|,| DON|'T| they|'LL",
      " | x| =| |1|2|3|4|5|6|7|;\r\n\n|\tfoo|_bar|(|1|)",
      "Grüße| ÉCOLE| caféBar| HTTPServer",
      "你好世界| 漢字かな| 한국어| ภาษาไทย| ह|िन|्द|ी",
      "a|  | b|\t\t| c|  \n| | d|   ",
      "~~| --| ...| $|3|.|1|4| →| 😀👍🏽| |١|٢|٣|٤|٥",
      "https|://|a|.b|/c|?d|=|1|_|0|0|0| .|end| 。|終| I|'d"}},
    {"gemma4",
     {"I'm 42, DON'T they'LL",
      "  x = 1234567;\r|\n\n|\tfoo_bar(1)",
      "Grüße ÉCOLE caféBar HTTPServer",
      "你好世界 漢字かな 한국어 ภาษาไทย हिन्दी",
      "a   b\t\t c  |\n|  d   ",
      "~~ -- ... $3.14 → 😀👍🏽 ١٢٣٤٥",
      "https://a.b/c?d=1_000 .end 。終 I'd"}},
    {"whitespace",
     {"I'm| |42,| |DON'T| |they'LL",
      "  |x| |=| |1234567;|\r\n\n\t|foo_bar(1)",
      "Grüße| |ÉCOLE| |caféBar| |HTTPServer",
      "你好世界| |漢字かな| |한국어| |ภาษาไทย| |हिन्दी",
      "a|   |b|\t\t |c|  \n  |d|   ",
      "~~| |--| |...| |$3.14| |→| |😀👍🏽| |١٢٣٤٥",
      "https://a.b/c?d=1_000| |.end| |。終| |I'd"}},
};
/* clang-format on */

/* words without the bars is the text. */
static void check_rule(pml_pre pre, const char *name, const char *words) {
  char text[256], got[512];
  size_t len = 0, n, at = 0;
  for (const char *p = words; *p; p++)
    if (*p != '|') text[len++] = *p;
  pml_str *word;
  CHECK(pml_pre_tokenize(pre, text, len, &word, &n) == PML_OK);
  for (size_t i = 0; i < n; i++) at += (size_t)snprintf(got + at, sizeof got - at, "%s%.*s", i ? "|" : "", (int)word[i].len, word[i].ptr);
  got[at] = 0;
  CHECK_MSG(!strcmp(got, words), "%s: wanted <%s>, got <%s>", name, words, got);
  pml_free(word);

  for (at = n = 0; at < len; at += n) { /* word by word, each from what is left */
    n = pml_pre_token(pre, text + at, len - at);
    if (n == 0 || n > len - at) break;
  }
  CHECK_MSG(at == len, "%s: pml_pre_token stops at %zu of %zu", name, at, len);
}

static void test_pinned(void) {
  TEST("the words of every rule");
  bool seen[PML_PRE_COUNT] = {false};
  for (size_t i = 0; i < sizeof pinned / sizeof pinned[0]; i++) {
    const pml_pre_info *info = pml_pre_find(pml_str_of(pinned[i].name));
    CHECK_MSG(info, "%s is not known", pinned[i].name);
    if (!info) continue;
    seen[info->pre] = true;
    for (int k = 0; k < TEXTS; k++) check_rule(info->pre, pinned[i].name, pinned[i].words[k]);
  }
  for (int i = 0; i < PML_PRE_COUNT; i++) CHECK_MSG(seen[i], "rule %d is not pinned", i);
}

static void test_names(void) {
  TEST("names of rules");
  size_t n;
  const pml_pre_info *list = pml_pre_names(&n);
  CHECK(n > 90);
  for (size_t i = 0; i < n; i++) {
    const pml_pre_info *found = pml_pre_find(pml_str_of(list[i].name));
    CHECK_MSG(found == &list[i], "%s is listed twice", list[i].name);
    const char *name = pml_pre_name(list[i].pre, list[i].whole_words);
    found = name ? pml_pre_find(pml_str_of(name)) : NULL;
    CHECK_MSG(found && found->pre == list[i].pre && found->whole_words == list[i].whole_words, "%s is written as %s",
              list[i].name, name ? name : "nothing");
  }
  CHECK(pml_pre_find(pml_str_of("no such rule")) == NULL && pml_pre_find(pml_str_of("llama")) == NULL);
  CHECK(pml_pre_find((pml_str){NULL, 0})->pre == PML_PRE_DEFAULT);
}

/* Any bytes, cut by any rule: all of them come out, in order, and cutting goes on where it stopped. */
static void test_any_bytes(void) {
  TEST("any bytes, every rule");
  static const char *const bits[] = {"a", "Z", "'", "'s", " ", "  ", "\n", "\r\n", "\t", "1", "12345", "_", ".", "~", "\xFF", "\xC3",
                                     "\xC3\xA9", "\xE4\xBD\xA0", "\xE3\x80\x80", "\xF0\x9F\x98\x80", "\xCC\x81", "", "<sentinel:", "IMGIMG"};
  uint64_t seed = 1;
  for (int round = 0; round < 400; round++) {
    char text[256];
    size_t len = 0;
    for (int k = 0; k < 30; k++) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      const char *bit = bits[(seed >> 33) % (sizeof bits / sizeof bits[0])];
      size_t n = strlen(bit);
      if (len + n > sizeof text) break;
      memcpy(text + len, bit, n);
      len += n;
    }
    for (int pre = 0; pre < PML_PRE_COUNT; pre++) {
      pml_str *word;
      size_t n, at = 0;
      bool good = pml_pre_tokenize((pml_pre)pre, text, len, &word, &n) == PML_OK;
      for (size_t i = 0; good && i < n; i++) {
        good = word[i].ptr == text + at && word[i].len > 0 && word[i].len <= len - at;
        at += word[i].len;
      }
      CHECK_MSG(good && at == len, "rule %d, round %d", pre, round);
      pml_free(word);
    }
  }
}

/* One word or one run of 256 KiB: linear, not quadratic. */
static void test_long_runs(void) {
  TEST("a quarter of a megabyte of one thing");
  static const char *const units[] = {"a", "1", " ", "\n", " \t", "~", "'", "\xE4\xBD\xA0", "\xD9\xA1", "Aa"};
  enum { SIZE = 1 << 18 };
  char *text = malloc(SIZE);
  if (!text) exit(1);
  for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
    size_t n = strlen(units[u]), len = 0;
    for (; len + n <= SIZE; len += n) memcpy(text + len, units[u], n);
    for (int pre = 0; pre < PML_PRE_COUNT; pre++) {
      pml_str *word;
      size_t n_words;
      double t0 = pml_time();
      CHECK(pml_pre_tokenize((pml_pre)pre, text, len, &word, &n_words) == PML_OK);
      CHECK_MSG(pml_time() - t0 < 20, "rule %d, '%s': %.1f s", pre, units[u], pml_time() - t0);
      pml_free(word);
    }
  }
  free(text);
}

int main(void) {
  test_pinned();
  test_names();
  test_any_bytes();
  test_long_runs();
  return TEST_END();
}
