"""An LSTM written out: raw parameters, gates by chunk, a loop over time, a list of states."""

import math

import torch
import torch.nn as nn


class NaiveLSTM(nn.Module):
    def __init__(self, input_sz, hidden_sz):
        super().__init__()
        self.input_size = input_sz
        self.hidden_size = hidden_sz
        self.weight_ih = nn.Parameter(torch.empty(input_sz, hidden_sz * 4))
        self.weight_hh = nn.Parameter(torch.empty(hidden_sz, hidden_sz * 4))
        self.bias = nn.Parameter(torch.zeros(hidden_sz * 4))
        self.init_weights()

    def init_weights(self):
        stdv = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            weight.data.uniform_(-stdv, stdv)

    def forward(self, x, init_states=None):
        bs, seq_sz, _ = x.size()
        hidden_seq = []
        if init_states is None:
            h_t, c_t = (torch.zeros(bs, self.hidden_size).to(x.device), torch.zeros(bs, self.hidden_size).to(x.device))
        else:
            h_t, c_t = init_states
        HS = self.hidden_size
        for t in range(seq_sz):
            x_t = x[:, t, :]
            gates = x_t @ self.weight_ih + h_t @ self.weight_hh + self.bias
            i_t, f_t, g_t, o_t = (
                torch.sigmoid(gates[:, :HS]),
                torch.sigmoid(gates[:, HS:HS * 2]),
                torch.tanh(gates[:, HS * 2:HS * 3]),
                torch.sigmoid(gates[:, HS * 3:]),
            )
            c_t = f_t * c_t + i_t * g_t
            h_t = o_t * torch.tanh(c_t)
            hidden_seq.append(h_t.unsqueeze(0))
        hidden_seq = torch.cat(hidden_seq, dim=0)
        hidden_seq = hidden_seq.transpose(0, 1).contiguous()
        return hidden_seq, (h_t, c_t)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = NaiveLSTM(6, 8)
        self.fc1 = nn.Linear(8, 1)

    def forward(self, x):
        x_, (h_n, c_n) = self.lstm(x)
        return self.fc1(x_[:, -1, :])


def make_model():
    return Net()


def make_batch(random, n):
    return {"x": random.standard_normal((n, 5, 6)), "y": random.standard_normal(n)}


def compute_loss(model, x, y):
    return nn.functional.mse_loss(model(x).squeeze(-1), y)
