sources![];
