"""GPT-2, BERT, Llama and T5 of Hugging Face: losses, gradients, generation, files."""

import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.utils import logging

logging.disable_progress_bar()
torch.manual_seed(0)
ids = torch.randint(0, 100, (2, 12))
gpt = GPT2LMHeadModel(GPT2Config(vocab_size=100, n_positions=32, n_embd=32, n_layer=2, n_head=2))
gpt.eval()
out = gpt(ids, labels=ids)
out.loss.backward()
print("GPT-2", out.loss.item(), out.logits[0, 0, :3].detach())
print(gpt.transformer.wte.weight.grad.abs().sum())
options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
print(gpt.generate(ids[:, :4], **options))
bert = BertForSequenceClassification(BertConfig(
    vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=64,
)).eval()
labels = torch.tensor([0, 1])
print("BERT", bert(ids, attention_mask=torch.ones_like(ids), labels=labels).loss.item())
llama = LlamaForCausalLM(LlamaConfig(
    vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2,
)).eval()
print("Llama", llama(ids, labels=ids).loss.item(), llama.generate(ids[:, :4], **options))
t5 = T5ForConditionalGeneration(T5Config(
    vocab_size=100, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
    decoder_start_token_id=0,
)).eval()
print("T5", t5(input_ids=ids, labels=ids).loss.item())
with tempfile.TemporaryDirectory() as folder:
    gpt.save_pretrained(folder)
    again = GPT2LMHeadModel.from_pretrained(folder)
    print(torch.equal(again(ids).logits, gpt(ids).logits))
