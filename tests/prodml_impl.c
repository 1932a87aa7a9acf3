/* The library, compiled once per variant; every test links it. */
#define PRODML_EXTERN
#define PRODML_IMPLEMENTATION
#include "prodml.h"
