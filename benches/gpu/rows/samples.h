// Samples of a figure, and the JSON that the runner reads.
#pragma once
#include <stdio.h>
#include <stdlib.h>

// More than any figure takes.
#define SAMPLES_MAX 20000

static double samples[SAMPLES_MAX];

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The value below which `share` of the samples lie; sorts them.
static double quantile(int count, double share) {
    qsort(samples, (size_t)count, sizeof *samples, by_size);
    return samples[(int)((count - 1) * share)];
}

// Prints a figure's name, value and unit; the first one opens the object.
static void figure(const char *name, double value, const char *unit) {
    static int printed;
    printf("%s\"%s\": {\"value\": %.6g, \"unit\": \"%s\"}", printed++ ? ", " : "{\"figures\": {", name, value, unit);
}

// Closes the object.
static void end_figures(void) { printf("}}\n"); }
