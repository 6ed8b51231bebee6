// Names of the instruction set that this translation unit is compiled for, and of the namespace that its kernels live in.
#pragma once

// The build defines LANGEVIN_ISA as baseline, avx2 or avx512 for kernel files; everything else is compiled without it.
#ifndef LANGEVIN_ISA
#define LANGEVIN_ISA baseline
#endif

#define LANGEVIN_TEXT_(x) #x
#define LANGEVIN_TEXT(x) LANGEVIN_TEXT_(x)
#define LANGEVIN_JOIN_(a, b) a##b
#define LANGEVIN_JOIN(a, b) LANGEVIN_JOIN_(a, b)

#define LANGEVIN_ISA_NAME LANGEVIN_TEXT(LANGEVIN_ISA)
