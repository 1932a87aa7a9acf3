/* The one object per variant that the tests link: prodml.h with external functions. */
#define PRODML_EXTERN
#define PRODML_IMPLEMENTATION
#include "prodml.h"
