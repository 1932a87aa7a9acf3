/* The header's one object for test programs: external linkage, so that each
   compiler variant compiles the implementation once. */
#define PRODML_EXTERN
#define PRODML_IMPLEMENTATION
#include "prodml.h"
