/* Names what is on a picture, with TensorFlow's C library alone.

   saved_model_client FOLDER PICTURE INPUT_OPERATION SCORES_OPERATION INDEX LABELS_OPERATION INDEX */

#include <stdio.h>
#include <stdlib.h>
#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

static void check(TF_Status *status) {
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "%s\n", TF_Message(status));
    exit(1);
  }
}

static void nothing(void *data, size_t length, void *argument) {}

int main(int argc, char **argv) {
  if (argc != 8) return 2;
  FILE *file = fopen(argv[2], "rb");
  if (!file) return 2;
  static char bytes[1 << 20];
  size_t length = fread(bytes, 1, sizeof bytes, file);
  fclose(file);

  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  check(status);

  TF_TString string;
  TF_TString_Init(&string);
  TF_TString_Copy(&string, bytes, length);
  int64_t shape[] = {1};
  TF_Tensor *input = TF_NewTensor(TF_STRING, shape, 1, &string, sizeof string, nothing, NULL);
  TF_Output from = {TF_GraphOperationByName(graph, argv[3]), 0};
  TF_Output to[] = {{TF_GraphOperationByName(graph, argv[4]), atoi(argv[5])},
                    {TF_GraphOperationByName(graph, argv[6]), atoi(argv[7])}};
  TF_Tensor *outputs[2];
  TF_SessionRun(session, NULL, &from, &input, 1, to, outputs, 2, NULL, 0, NULL, status);
  check(status);

  const float *scores = TF_TensorData(outputs[0]);
  const TF_TString *labels = TF_TensorData(outputs[1]);
  for (int64_t n = 0; n < TF_Dim(outputs[0], 1); n++)
    printf("%.9g %s\n", scores[n], TF_TString_GetDataPointer(&labels[n]));
  TF_CloseSession(session, status);
  return 0;
}
